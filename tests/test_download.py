"""Downloads: whole, checked and in their place, or one sentence that helps; a local server is the network."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from sslbench.bench.checkpoints.fetch import fetched
from sslbench.bench.checkpoints.registry import Absent, Checkpoint
from sslbench.bench.cli import main
from sslbench.bench.errors import UserError
from sslbench.bench.storage import download
from sslbench.bench.storage.download import GONE, downloaded, noted

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Misbehaves as the path says; notes what was asked for."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        """Serves CONTENT, or part of it."""
        kind, start = self.path.strip("/").partition("/")[0], 0
        wanted = self.headers.get("Range")
        Handler.asked.append((kind, wanted))
        tries = sum(name == kind for name, _ in Handler.asked)
        if kind == "missing":
            return self.send_error(404)
        if kind == "busy" and tries < 3:
            return self.send_error(503)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/whole/file.bin")
            return self.end_headers()
        mark = '"one"' if kind != "changed" or tries < 2 else '"two"'
        if wanted and self.headers.get("If-Range") == mark:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        length = len(CONTENT) - start
        self.send_header("Content-Length", str({"long": length + 50, "huge": 1 << 60}.get(kind, length)))
        if kind != "unmarked":
            self.send_header("ETag", mark)
        self.end_headers()
        if kind == "silent" and tries < 2:
            time.sleep(0.6)
        body = CONTENT[start:]
        if kind in ("cut", "changed", "unmarked") and tries < 2:
            body = body[:100_000]
        if kind == "hopeless":
            body = body[:1000]
        for place in range(0, len(body), 64_000):
            self.wfile.write(body[place : place + 64_000])
            if kind == "slow":
                self.wfile.flush()
                time.sleep(0.05)
        return None

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """One whose clients may hang up."""

    def handle_error(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server's address."""
    Handler.asked.clear()
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setattr(download, "PATIENCE", 5.0)
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def bring(url: str, target: Path, sha256: str = "") -> list[tuple[int, int]]:
    """The download's progress."""
    return list(downloaded(url, target, sha256))


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        ("whole", [None]),
        ("slow", [None]),
        ("moved", [None, None]),
        ("busy", [None, None, None]),
        ("cut", [None, "bytes=100000-"]),
        ("changed", [None, "bytes=100000-"]),
        ("unmarked", [None, None]),
    ],
)
def test_a_file_comes_whole_however_the_network_stumbles(
    kind: str, ranges: list[str | None], network: str, tmp_path: Path
) -> None:
    """Slow, redirected, busy, cut off (resumed), changed or without a mark (begun anew): the bytes are right."""
    target = tmp_path / "deep" / "file.bin"
    progress = bring(f"{network}/{kind}/file.bin", target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in Handler.asked] == ranges
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert noted(target)["sha256"] == DIGEST
    assert {path.name for path in target.parent.iterdir()} == {"file.bin", "file.bin.json", ".file.bin.lock"}


@pytest.mark.parametrize(
    ("kind", "tries", "told"),
    [("missing", 1, "404"), ("hopeless", download.TRIES, "cut off after"), ("long", download.TRIES, "cut off after")],
)
def test_a_file_that_cannot_be_had_leaves_nothing_in_its_place(
    kind: str, tries: int, told: str, network: str, tmp_path: Path
) -> None:
    """What is not there is not asked for twice; what is always cut off, or shorter than announced, is given up."""
    target = tmp_path / "file.bin"
    with pytest.raises(GONE) as refused:
        bring(f"{network}/{kind}/file.bin", target)
    assert told in download.told(refused.value)
    assert len(Handler.asked) == tries
    assert not target.exists()


def test_an_absurd_length_is_refused_before_a_byte_is_kept(network: str, tmp_path: Path) -> None:
    """A server that announces an exabyte is believed, and not followed."""
    with pytest.raises(UserError, match="more than anything that is fetched"):
        bring(f"{network}/huge/file.bin", tmp_path / "file.bin")
    assert not list(tmp_path.glob("*.bin"))


def test_the_wrong_file_is_thrown_away(network: str, tmp_path: Path) -> None:
    """A download whose SHA-256 is not the registered one is refused, and so is a file put there by hand."""
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match="not the file that was registered"):
        bring(f"{network}/whole/file.bin", target, "0" * 64)
    assert not target.exists()
    target.write_bytes(b"by hand")
    with pytest.raises(UserError, match="not the file that was expected"):
        bring(f"{network}/whole/file.bin", target, DIGEST)
    assert len(Handler.asked) == 1, "what is there is looked at before the network"


def test_what_was_first_downloaded_stays_what_it_was(network: str, tmp_path: Path) -> None:
    """Without a registered hash the first download's is kept: a file swapped later is refused, the same one is not."""
    target = tmp_path / "file.bin"
    bring(f"{network}/whole/file.bin", target)
    assert bring(f"{network}/whole/file.bin", target) == []
    assert json.loads((tmp_path / "file.bin.json").read_text())["bytes"] == len(CONTENT)
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(UserError, match="not the file that was expected"):
        bring(f"{network}/whole/file.bin", target)


def test_a_connection_that_falls_silent_is_left(network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no byte comes for the patience's length, another connection goes on."""
    monkeypatch.setattr(download, "PATIENCE", 0.2)
    bring(f"{network}/silent/file.bin", tmp_path / "file.bin", DIGEST)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_offline_the_sentence_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network `fetch` and a run name the address and the place; a file put there by hand is taken."""
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(download, "PAUSE", 0.0)

    def unreachable(*_: object, **__: object) -> None:
        raise download.urllib.error.URLError("no route to host")

    monkeypatch.setattr(download.urllib.request, "urlopen", unreachable)
    place = tmp_path / "checkpoints" / "moco@v2_800ep.pth.tar"
    for words in (["fetch", "moco@v2_800ep"], ["--methods", "moco@v2_800ep", "--set", "synthetic.train=40"]):
        assert main([*words, *(["--results", str(tmp_path / "results")] if words[0] != "fetch" else [])]) in (1, 2)
        told = capsys.readouterr().err
        assert "could not be downloaded (no route to host). Fetch https://dl.fbaipublicfiles.com/moco/" in told
        assert f"put it at {place}" in told
    place.write_bytes(CONTENT)
    assert main(["fetch", "moco@v2_800ep"]) == 0
    assert capsys.readouterr().out.split() == ["moco@v2_800ep", str(place)]
    assert noted(place)["sha256"] == DIGEST


def test_the_hubs_files_come_by_its_own_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hf: addresses are split into repository and file; the hub's failure becomes the sentence that helps."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "kept.safetensors").write_bytes(CONTENT)
    asked = []

    def bring_one(repository: str, file: str) -> str:
        asked.append((repository, file))
        if file == "gone.pth":
            raise RuntimeError("401 Client Error\nand more")
        return str(tmp_path / "kept.safetensors")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", bring_one)
    kept = Checkpoint(token="hf/a/b/c/d.pth", method="x", name=None, kind="hub", url="hf:a/b/c/d.pth", encoder="nin")
    list(fetched(kept))
    assert asked == [("a/b", "c/d.pth")]
    assert kept.file
    assert kept.file.read_bytes() == CONTENT
    gone = Checkpoint(token="hf/a/b/gone.pth", method="x", name=None, kind="hub", url="hf:a/b/gone.pth", encoder="nin")
    with pytest.raises(Absent, match=r"could not be downloaded \(401 Client Error\)"):
        list(fetched(gone))
