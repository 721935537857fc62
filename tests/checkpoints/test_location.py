"""Tests of paths to checkpoints: indexes of several files, and parts of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sslbench.bench.checkpoints.location import content_hash, split_part
from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders import weights_hash
from sslbench.bench.encoders.convnet import ConvNet

from .builders import assert_refused, resolve_words

INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, *, torch_files: bool = False) -> tuple[Path, ConvNet]:
    """An encoder in two files and their index."""
    encoder = ConvNet(32, width=4)
    state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    ending = "bin" if torch_files else "safetensors"
    weight_map = {}
    for number in (0, 1):
        part = dict(list(state.items())[number::2])
        file = folder / f"part-{number}.{ending}"
        torch.save(part, file) if torch_files else save_file(part, file)
        weight_map |= dict.fromkeys(part, file.name)
    index = folder / ("pytorch_model.bin.index.json" if torch_files else INDEX)
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index, encoder


@pytest.mark.parametrize("torch_files", [False, True])
def test_a_sharded_checkpoint_is_read_from_its_index(torch_files: bool, tmp_path: Path) -> None:
    """All files of an index together fill the encoder, and its identity covers each of them."""
    index, encoder = write_shards(tmp_path, torch_files=torch_files)
    fresh = ConvNet(32, width=4)
    load_encoder(index, fresh)
    assert weights_hash(fresh) == weights_hash(encoder)
    before = content_hash(index)
    shard = sorted(tmp_path.glob("part-1.*"))[0]
    shard.write_bytes(shard.read_bytes() + b"x")
    assert content_hash(index) != before


def test_an_index_in_the_cache_of_the_hub_is_read(tmp_path: Path) -> None:
    """There the index and its files are links into one other folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    write_shards(tmp_path / "blobs")
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    load_encoder(tmp_path / "snapshot" / INDEX, ConvNet(32, width=4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no table weight_map"),
        ("{", "no table weight_map"),
        ("[" * 100_000, "no table weight_map"),
        ('{"weight_map": 5}', "no table weight_map"),
        ('{"weight_map": {}}', "lists no tensors"),
        ('{"weight_map": {"a": "../part-0.safetensors"}}', "not a file in its folder"),
        ('{"weight_map": {"a": "/etc/hostname"}}', "not a file in its folder"),
        ('{"weight_map": {"a": "outside.safetensors"}}', "not a file in its folder"),
        ('{"weight_map": {"a": "part-9.safetensors"}}', "names part-9.safetensors, which is missing here"),
        ('{"weight_map": {"a": "model.safetensors.index.json"}}', "missing here"),
        ('{"weight_map": {"a": "part-0.safetensors"}}', "part-0.safetensors lacks 'a'"),
    ],
)
def test_a_faulty_index_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """It is one line, and nothing outside of the folder is read, not even through a link."""
    folder = tmp_path / "inside"
    folder.mkdir()
    index, _ = write_shards(folder)
    save_file({"a": torch.ones(1)}, tmp_path / "outside.safetensors")
    os.symlink(tmp_path / "outside.safetensors", folder / "outside.safetensors")
    index.write_text(text)
    assert_refused(index, ConvNet(32, width=4), message)


def test_a_part_of_a_file_is_named_after_the_path(tmp_path: Path) -> None:
    """FILE#PART loads this part; a file whose name has the mark is itself."""
    raw, averaged = ConvNet(32, width=4), ConvNet(32, width=4)
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": averaged.state_dict()}, path)
    fresh = ConvNet(32, width=4)
    for part, expected in (("", averaged), ("#state_dict", raw), ("#state_dict_ema", averaged)):
        load_encoder(Path(f"{path}{part}"), fresh)
        assert weights_hash(fresh) == weights_hash(expected), part
    assert_refused_part = pytest.raises(Exception, match=r"no part 'ema'.*state_dict_ema, state_dict")
    with assert_refused_part:
        load_encoder(Path(f"{path}#ema"), fresh)
    hashes = {content_hash(Path(f"{path}{part}")) for part in ("", "#state_dict", "#state_dict_ema")}
    assert len(hashes) == 3
    (tmp_path / "a#b.pt").write_bytes(path.read_bytes())
    assert split_part(tmp_path / "a#b.pt") == (tmp_path / "a#b.pt", "")


def test_the_part_that_was_taken_is_in_the_checkpoints_name(tmp_path: Path) -> None:
    """With averaged weights in the file, the row says so; the raw weights are another checkpoint with another key."""
    states = [ConvNet(32).state_dict() for _ in range(2)]
    for name, names in {"timm": ("state_dict", "state_dict_ema"), "dino": ("student", "teacher")}.items():
        torch.save(dict(zip(names, states, strict=True)) | {"epoch": 3}, tmp_path / f"{name}.ckpt")
    torch.save({"model": states[0]}, tmp_path / "one.ckpt")
    taken, raw = resolve_words(f"file/{tmp_path}/timm.ckpt", f"file/{tmp_path}/timm.ckpt#state_dict")
    assert (taken.token, taken.part) == (f"file/{tmp_path}/timm.ckpt#state_dict_ema", "state_dict_ema")
    assert raw.token == f"file/{tmp_path}/timm.ckpt#state_dict"
    assert taken.identity(0) != raw.identity(0)
    assert resolve_words(f"file/{tmp_path}/dino.ckpt")[0].part == "teacher"
    assert resolve_words(f"file/{tmp_path}/dino.ckpt#student@convnet")[0].part == "student"
    (one,) = resolve_words(f"file/{tmp_path}/one.ckpt")
    assert (one.token, one.part) == (f"file/{tmp_path}/one.ckpt", "")


def test_an_encoder_among_several_prefixes_can_be_named(tmp_path: Path) -> None:
    """The momentum encoder of MoCo is read on request, the query encoder otherwise."""
    query, key = ConvNet(32, width=4), ConvNet(32, width=4)
    state = {f"module.encoder_q.{name}": value for name, value in query.state_dict().items()}
    state |= {f"module.encoder_k.{name}": value for name, value in key.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "moco.pth")
    fresh = ConvNet(32, width=4)
    load_encoder(tmp_path / "moco.pth", fresh)
    assert weights_hash(fresh) == weights_hash(query)
    load_encoder(tmp_path / "moco.pth", fresh, "encoder_k")
    assert weights_hash(fresh) == weights_hash(key)
