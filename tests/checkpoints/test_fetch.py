"""Tests of fetching checkpoints: clear errors without a network, and the Hugging Face hub's own library."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sslbench.bench.checkpoints.fetch import fetch_checkpoint, link_or_copy
from sslbench.bench.checkpoints.registry import Checkpoint, CheckpointUnavailable
from sslbench.bench.cli import main
from sslbench.bench.storage import download
from sslbench.bench.storage.download import read_metadata

CONTENT = bytes(range(256))


def test_without_a_network_the_error_names_address_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fetch` and a run say what to download by hand and where to put it; a file put there is accepted."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)

    def unreachable(*_: object, **__: object) -> None:
        raise download.urllib.error.URLError("no route to host")

    monkeypatch.setattr(download.urllib.request, "urlopen", unreachable)
    place = tmp_path / "checkpoints" / "moco@v2_800ep.pth.tar"
    run = ["--methods", "moco@v2_800ep", "--set", "synthetic.train=40", "--results", str(tmp_path / "results")]
    for arguments in (["fetch", "moco@v2_800ep"], run):
        assert main(arguments) in (1, 2)
        error = capsys.readouterr().err
        assert "could not be downloaded (no route to host). Fetch https://dl.fbaipublicfiles.com/moco/" in error
        assert f"put it at {place}" in error
    place.write_bytes(CONTENT)
    assert main(["fetch", "moco@v2_800ep"]) == 0
    assert capsys.readouterr().out.split() == ["moco@v2_800ep", str(place)]
    assert read_metadata(place)["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_hub_files_are_fetched_by_the_hub_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf: addresses are split into repository and file; a failure of the hub becomes a clear error."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "local.safetensors").write_bytes(CONTENT)
    requests = []

    def hub_download(repository: str, file: str) -> str:
        requests.append((repository, file))
        if file == "missing.pth":
            raise RuntimeError("401 Client Error\nand more")
        return str(tmp_path / "local.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub_download)
    present = Checkpoint(token="hf/a/b/c/d.pth", method="x", name=None, kind="hub", url="hf:a/b/c/d.pth", encoder="nin")
    list(fetch_checkpoint(present))
    assert requests == [("a/b", "c/d.pth")]
    assert present.file
    assert present.file.read_bytes() == CONTENT
    missing = Checkpoint(
        token="hf/a/b/missing.pth", method="x", name=None, kind="hub", url="hf:a/b/missing.pth", encoder="nin"
    )
    with pytest.raises(CheckpointUnavailable, match=r"could not be downloaded \(401 Client Error\)"):
        list(fetch_checkpoint(missing))


def test_a_file_is_copied_where_no_links_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows most users may not make links; the copy has the same content, and no other file is left."""
    (tmp_path / "cached").write_bytes(CONTENT)
    link_or_copy(tmp_path / "cached", tmp_path / "linked" / "a.pth")
    assert (tmp_path / "linked" / "a.pth").is_symlink()

    def refuse(*_: object) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    link_or_copy(tmp_path / "cached", tmp_path / "copied" / "a.pth")
    assert not (tmp_path / "copied" / "a.pth").is_symlink()
    assert (tmp_path / "copied" / "a.pth").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["a.pth"]
