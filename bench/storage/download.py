"""Files from the network: resumed where they were cut off, checked, and put in their place whole."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .atomic import write_whole
from .cache import locked
from .hashing import file_hash

PATIENCE = 30.0  # seconds without a byte before a connection counts as gone
PAUSE = 2.0  # seconds before the second try; twice as long before each further one
TRIES = 4
BLOCK = 1 << 20  # bytes
LARGEST = 16 * 2**30  # bytes

GONE = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, EOFError)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers after which another try may help


class CutOff(EOFError):
    """Fewer bytes came than were announced."""


def downloaded(url: str, target: Path, sha256: str = "") -> Iterator[tuple[int, int]]:
    """Brings a file into its place; yields bytes there and bytes in all (0: not announced).

    Raises UserError for a file that is not what was registered or first downloaded, one of GONE
    where the network fails for good.
    """
    try:
        with locked(target):
            if target.exists():
                check(target, url, sha256)
                return
            part = target.with_name(f".{target.name}.part")
            yield from brought(url, part)
            digest = file_hash(part)
            if sha256 and digest != sha256:
                part.unlink()
                raise UserError(
                    f"{url}: not the file that was registered (SHA-256 {digest[:16]}…, expected {sha256[:16]}…); "
                    "it was thrown away."
                )
            note(target, url, digest, part.stat().st_size)
            part.replace(target)
            tag_of(part).unlink(missing_ok=True)
    except GONE:
        raise  # of which some are also errors of the operating system
    except OSError as error:
        raise UserError(
            f"{target.parent}: cannot be written ({error.strerror or error}). "
            "Make room there, or set SSLBENCH_CACHE to another folder."
        ) from error


def brought(url: str, part: Path) -> Iterator[tuple[int, int]]:
    """The bytes of an address, tried again and resumed while the network stumbles."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            yield from continued(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is there does not fit what the server has
                part.unlink(missing_ok=True)
            elif error.code not in PASSING:
                raise
            last: Exception = error
        except urllib.error.URLError as error:
            if attempt or not isinstance(error.reason, TimeoutError | ConnectionError):
                raise
            last = error
        except GONE as error:
            last = error
    raise last


def continued(url: str, part: Path) -> Iterator[tuple[int, int]]:
    """One connection's worth of a file, after what an earlier one brought where it is still the same file."""
    have, tag = part.stat().st_size if part.exists() else 0, tag_of(part)
    headers = {"User-Agent": "sslbench", "Accept-Encoding": "identity"}
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        check_room(url, part, total - have)
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        # A weak mark does not promise the same bytes, so such a file is begun anew.
        if mark and not mark.startswith("W/"):
            tag.write_text(mark, encoding="utf-8")
        else:
            tag.unlink(missing_ok=True)
        announced = total > have
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                if have > LARGEST:
                    raise UserError(f"{url}: more than {LARGEST:,} bytes; nothing that is fetched here is that large.")
                yield have, total if announced else 0
    if announced and have < total:
        raise CutOff(f"cut off after {have:,} of {total:,} bytes")


def check_room(url: str, part: Path, needed: int) -> None:
    """Raises UserError where the disk has no room for so many bytes."""
    part.parent.mkdir(parents=True, exist_ok=True)
    if needed > LARGEST:
        raise UserError(f"{url}: announces {needed:,} bytes, more than anything that is fetched here; it was left.")
    if needed > shutil.disk_usage(part.parent).free:
        raise UserError(f"{part.parent}: no room for {needed:,} bytes; make some, or set SSLBENCH_CACHE elsewhere.")


def tag_of(part: Path) -> Path:
    """Beside an unfinished file: what its server called the whole."""
    return part.with_suffix(".tag")


def note(target: Path, url: str, digest: str, size: int) -> None:
    """Keeps what a file is known by, for every later look."""
    write_whole(sidecar(target), json.dumps({"url": url, "sha256": digest, "bytes": size}).encode())


def sidecar(target: Path) -> Path:
    """Where that is kept."""
    return target.with_name(f"{target.name}.json")


def noted(target: Path) -> dict[str, str | int]:
    """What is kept; empty where nothing is."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(sidecar(target).read_text(encoding="utf-8"))
    return {}


def check(target: Path, url: str, sha256: str) -> None:
    """Raises UserError for a file in the cache that is not the registered one, nor the one first seen there.

    Only a file not seen before, or of another size, is read.
    """
    known = noted(target)
    if known.get("bytes") == target.stat().st_size and known.get("sha256") == (sha256 or known.get("sha256")):
        return
    digest, expected = file_hash(target), sha256 or str(known.get("sha256", ""))
    if expected and digest != expected:
        raise UserError(
            f"{target}: not the file that was expected (SHA-256 {digest[:16]}…, and not {expected[:16]}…); "
            f"remove it and fetch {url} again."
        )
    note(target, url, digest, target.stat().st_size)


def told(error: Exception) -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
