"""Tests of the metadata in a header: records get only what sslbench can have written."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from sslbench.bench.checkpoints.metadata import parse_metadata
from sslbench.bench.checkpoints.safe_load import read_checkpoint_file, read_metadata
from sslbench.bench.errors import UserError

HERE = Path("a.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not those of sslbench"),
        ("[]", "is '[]', not an object"),
        ("null", "not an object"),
        ('"x"', "not an object"),
        ("[" * 100_000, "too many nested lists"),
        ('{"settings": ' * 50_000 + "1", "not those of sslbench"),
        ('{"settings": {"a": {"a": {"a": {"a": {}}}}}}', "cannot hold"),
        ('{"cost": 5}', "cost is '5', not an object"),
        ('{"cost": {"pretrain_seconds": "many"}}', "cost pretrain_seconds is 'many', not a number"),
        ('{"cost": {"pretrain_views": 2.5}}', "not a whole number"),
        ('{"cost": {"pretrain_flops": 1e400}}', "cannot hold"),
        ('{"cost": {"pretrain_views": 1' + "0" * 400 + "}}", "cannot hold"),
        ('{"pretext": {"loss": "low"}}', "pretext loss is 'low', not a number"),
        ('{"method": ["moco"]}', "not text"),
        ('{"method": "\\ud800"}', "cannot hold"),
        ('{"commit": 5}', "not text"),
        ('{"recipe": "small"}', "not an object"),
    ],
)
def test_metadata_of_another_type_are_refused(text: str, message: str) -> None:
    """The error is one line that names the file and the value."""
    with pytest.raises(UserError, match=message.replace("[", r"\[").replace("]", r"\]")) as refused:
        parse_metadata(HERE, text)
    assert str(refused.value).startswith(f"{HERE}: ")
    assert "\n" not in str(refused.value)
    assert str(refused.value).isascii()
    assert len(str(refused.value)) < 300


def test_what_sslbench_writes_is_read() -> None:
    """Known names come back as they are, NaN as None; other names are left out, so that records cannot get them."""
    known = {"method": "moco", "commit": None, "settings": {"dim": 8}, "cost": {"pretrain_views": 5}, "crc32": 7}
    assert parse_metadata(HERE, json.dumps(known | {"layout": 3, "source": "x"})) == known
    assert parse_metadata(HERE, '{"pretext": {"loss": NaN}}') == {"pretext": {"loss": None}}


@pytest.mark.parametrize("header", [b"[]", b"5", b"null", b"{" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000])
def test_a_faulty_header_is_refused(header: bytes, tmp_path: Path) -> None:
    """A header that is no table of tensors is one line; a caller that only asks for the metadata gets none."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError, match="not a safetensors file"):
        read_checkpoint_file(path)
    assert read_metadata(path) == {}
    torch.save({"w": torch.ones(1)}, tmp_path / "a.pt")
    assert read_metadata(tmp_path / "a.pt") == {}
