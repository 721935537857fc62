"""Tests of downloads against a local server: complete and verified files, or one clear error."""

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

from sslbench.bench.errors import UserError
from sslbench.bench.storage import download
from sslbench.bench.storage.download import NETWORK_ERRORS, download_file, failure_reason, read_metadata

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, misbehaving as the first part of the path says; records each path and requested range."""

    requests: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        """Serves CONTENT or a part of it."""
        kind, start = self.path.strip("/").partition("/")[0], 0
        requested_range = self.headers.get("Range")
        Handler.requests.append((kind, requested_range))
        attempt = sum(name == kind for name, _ in Handler.requests)
        if kind == "missing":
            return self.send_error(404)
        if kind == "busy" and attempt < 3:
            return self.send_error(503)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/whole/file.bin")
            return self.end_headers()
        tag = '"one"' if kind != "changed" or attempt < 2 else '"two"'
        if requested_range and self.headers.get("If-Range") == tag:
            start = int(requested_range.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        length = len(CONTENT) - start
        self.send_header(
            "Content-Length",
            str({"long": length + 50, "huge": 1 << 60, "odd": "abc", "negative": -5}.get(kind, length)),
        )
        if kind != "untagged":
            self.send_header("ETag", tag)
        self.end_headers()
        if kind == "silent" and attempt < 2:
            time.sleep(0.6)
        body = CONTENT[start:]
        if kind in ("cut", "changed", "untagged") and attempt < 2:
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
        """Keeps the test's output clean."""


class Server(ThreadingHTTPServer):
    """A server whose clients may hang up."""

    def handle_error(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server."""
    Handler.requests.clear()
    monkeypatch.setattr(download, "RETRY_DELAY", 0.0)
    monkeypatch.setattr(download, "TIMEOUT", 5.0)
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def download_all(url: str, target: Path, sha256: str = "") -> list[tuple[int, int]]:
    """Downloads a file and returns the reported progress."""
    return list(download_file(url, target, sha256))


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        ("whole", [None]),
        ("slow", [None]),
        ("moved", [None, None]),
        ("busy", [None, None, None]),
        ("cut", [None, "bytes=100000-"]),
        ("changed", [None, "bytes=100000-"]),
        ("untagged", [None, None]),
    ],
)
def test_a_file_arrives_complete_on_an_unreliable_network(
    kind: str, ranges: list[str | None], address: str, tmp_path: Path
) -> None:
    """Slow, redirected, busy, cut off (resumed), changed or without a version tag (restarted): the bytes are right."""
    target = tmp_path / "deep" / "file.bin"
    progress = download_all(f"{address}/{kind}/file.bin", target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert [requested for _, requested in Handler.requests] == ranges
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert read_metadata(target)["sha256"] == DIGEST
    assert {path.name for path in target.parent.iterdir()} == {"file.bin", "file.bin.json", ".file.bin.lock"}


@pytest.mark.parametrize(
    ("kind", "attempts", "reason"),
    [
        ("missing", 1, "404"),
        ("hopeless", download.ATTEMPTS, "cut off after"),
        ("long", download.ATTEMPTS, "cut off after"),
    ],
)
def test_a_failed_download_leaves_no_file(kind: str, attempts: int, reason: str, address: str, tmp_path: Path) -> None:
    """A missing file is requested once; one that is always cut off, or shorter than announced, ATTEMPTS times."""
    target = tmp_path / "file.bin"
    with pytest.raises(NETWORK_ERRORS) as failure:
        download_all(f"{address}/{kind}/file.bin", target)
    assert reason in failure_reason(failure.value)
    assert len(Handler.requests) == attempts
    assert not target.exists()


def test_a_file_above_the_limit_is_refused_before_it_is_read(address: str, tmp_path: Path) -> None:
    """A server that announces an exabyte is refused at once."""
    with pytest.raises(UserError, match="above the limit"):
        download_all(f"{address}/huge/file.bin", tmp_path / "file.bin")
    assert not list(tmp_path.glob("*.bin"))


def test_a_file_with_the_wrong_hash_is_refused(address: str, tmp_path: Path) -> None:
    """A download whose SHA-256 is not the registered one is deleted; one that the user put there is refused."""
    target = tmp_path / "file.bin"
    with pytest.raises(UserError, match="not the file that was registered"):
        download_all(f"{address}/whole/file.bin", target, "0" * 64)
    assert not target.exists()
    target.write_bytes(b"by hand")
    with pytest.raises(UserError, match="not the file that was expected"):
        download_all(f"{address}/whole/file.bin", target, DIGEST)
    assert len(Handler.requests) == 1, "an existing file is verified without the network"


def test_a_file_that_changed_since_its_first_download_is_refused(address: str, tmp_path: Path) -> None:
    """Without a registered hash the hash of the first download counts; the same file is accepted again."""
    target = tmp_path / "file.bin"
    download_all(f"{address}/whole/file.bin", target)
    assert download_all(f"{address}/whole/file.bin", target) == []
    assert json.loads((tmp_path / "file.bin.json").read_text())["bytes"] == len(CONTENT)
    target.write_bytes(CONTENT + b"more")
    with pytest.raises(UserError, match="not the file that was expected"):
        download_all(f"{address}/whole/file.bin", target)


def test_a_silent_connection_is_replaced(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no byte arrives within the timeout, another connection continues."""
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    download_all(f"{address}/silent/file.bin", tmp_path / "file.bin", DIGEST)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["odd", "negative"])
def test_a_length_that_is_no_number_counts_as_none(kind: str, address: str, tmp_path: Path) -> None:
    """A server that announces "abc" or -5 bytes is read until it closes the connection."""
    progress = download_all(f"{address}/{kind}/file.bin", tmp_path / "file.bin", DIGEST)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert progress[-1] == (len(CONTENT), 0)


def test_a_download_does_not_write_through_links(address: str, tmp_path: Path) -> None:
    """Links in the places of the file, its unfinished part and its tag are replaced; what they name is unchanged."""
    folder = tmp_path / "cache"
    folder.mkdir()
    names = ("file.bin", ".file.bin.part", ".file.bin.tag", "file.bin.json")
    for number, name in enumerate(names):
        victim = tmp_path / f"victim{number}"
        if name != "file.bin":  # of the file itself, a dangling link
            victim.write_bytes(b"untouched")
        (folder / name).symlink_to(victim)
    download_all(f"{address}/whole/file.bin", folder / "file.bin", DIGEST)
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert [(tmp_path / f"victim{number}").read_bytes() for number in (1, 2, 3)] == [b"untouched"] * 3
    assert not (tmp_path / "victim0").exists()
    assert not any((folder / name).is_symlink() for name in names)
