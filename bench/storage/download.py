"""Downloads of single files: interrupted ones are resumed, and a file appears in its place only when it is complete.

Next to each file, ``NAME.json`` records its address, SHA-256 and size, so that a later change of the file is noticed.
"""

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
from .atomic import atomic_write
from .cache import file_lock
from .hashing import file_hash

TIMEOUT = 30.0  # seconds without a byte after which a connection counts as lost
RETRY_DELAY = 2.0  # seconds before the second attempt; doubled before each further one
ATTEMPTS = 4
BLOCK = 1 << 20  # bytes
LARGEST = 16 * 2**30  # bytes

NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, EOFError)
RETRYABLE_STATUS = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416


class IncompleteDownload(EOFError):
    """Fewer bytes arrived than the server announced."""


def download_file(url: str, target: Path, sha256: str = "") -> Iterator[tuple[int, int]]:
    """Downloads a file unless it is there; yields bytes received and bytes in total (0 if not announced).

    Raises UserError if the file's hash is not ``sha256``, or without one not that of the first download,
    and one of NETWORK_ERRORS if the network fails for good.
    """
    try:
        with file_lock(target):
            if target.exists():
                verify_file(target, url, sha256)
                return
            part = target.with_name(f".{target.name}.part")
            remove_links(part, tag_path(part))
            yield from download_with_retries(url, part)
            digest = file_hash(part)
            if sha256 and digest != sha256:
                part.unlink()
                raise UserError(
                    f"{url}: not the file that was registered (SHA-256 {digest[:16]}…, expected {sha256[:16]}…). "
                    "It was deleted; run the same command to try again."
                )
            write_metadata(target, url, digest, part.stat().st_size)
            part.replace(target)
            tag_path(part).unlink(missing_ok=True)
    except NETWORK_ERRORS:
        raise  # some of them are OSErrors too
    except OSError as error:
        raise UserError(
            f"{target.parent}: cannot be written ({error.strerror or error}). "
            "Free some space there, or set SSLBENCH_CACHE to another folder."
        ) from error


def download_with_retries(url: str, part: Path) -> Iterator[tuple[int, int]]:
    """Downloads into an unfinished file, with several attempts that each continue where the last one stopped."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_DELAY * 2 ** (attempt - 1))
        try:
            yield from download_once(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == RANGE_NOT_SATISFIABLE:  # the unfinished file does not fit the server's file
                part.unlink(missing_ok=True)
            elif error.code not in RETRYABLE_STATUS:
                raise
            last: Exception = error
        except urllib.error.URLError as error:
            if attempt or not isinstance(error.reason, TimeoutError | ConnectionError):
                raise
            last = error
        except NETWORK_ERRORS as error:
            last = error
    raise last


def download_once(url: str, part: Path) -> Iterator[tuple[int, int]]:
    """Downloads over one connection; continues the unfinished file if the server still has the same version of it."""
    have, tag = part.stat().st_size if part.exists() else 0, tag_path(part)
    headers = {"User-Agent": "sslbench", "Accept-Encoding": "identity"}
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        resumed = response.status == 206
        have = have if resumed else 0
        total = have + announced_bytes(response.headers.get("Content-Length"))
        check_free_space(url, part, total - have)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak tag does not promise the same bytes, so such a file is never resumed.
        if version and not version.startswith("W/"):
            tag.write_text(version, encoding="utf-8")
        else:
            tag.unlink(missing_ok=True)
        announced = total > have
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                have += len(block)
                if have > LARGEST:
                    raise UserError(f"{url}: larger than the limit of {LARGEST:,} bytes. Check the address.")
                yield have, total if announced else 0
    if announced and have < total:
        raise IncompleteDownload(f"cut off after {have:,} of {total:,} bytes")


def announced_bytes(header: str | None) -> int:
    """The number of bytes that a Content-Length announces; 0 if it is missing or not a number."""
    text = (header or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def remove_links(*paths: Path) -> None:
    """Removes those that are symbolic links: writing to them would change files elsewhere."""
    for path in paths:
        if path.is_symlink():
            path.unlink()


def check_free_space(url: str, part: Path, needed: int) -> None:
    """Raises UserError if so many bytes are above the limit or do not fit on the disk."""
    part.parent.mkdir(parents=True, exist_ok=True)
    if needed > LARGEST:
        raise UserError(f"{url}: {needed:,} bytes, above the limit of {LARGEST:,}. Check the address.")
    if needed > shutil.disk_usage(part.parent).free:
        raise UserError(
            f"{part.parent}: no space for {needed:,} bytes. Free some, or set SSLBENCH_CACHE to another folder."
        )


def tag_path(part: Path) -> Path:
    """The file next to an unfinished one that holds the server's version tag of the complete file."""
    return part.with_suffix(".tag")


def metadata_path(target: Path) -> Path:
    """The file next to a downloaded one that holds its address, SHA-256 and size."""
    return target.with_name(f"{target.name}.json")


def write_metadata(target: Path, url: str, digest: str, size: int) -> None:
    """Records a file's address, SHA-256 and size in bytes."""
    atomic_write(metadata_path(target), json.dumps({"url": url, "sha256": digest, "bytes": size}).encode())


def read_metadata(target: Path) -> dict[str, str | int]:
    """The recorded ``url``, ``sha256`` and ``bytes`` of a file; empty if nothing is recorded."""
    with contextlib.suppress(OSError, ValueError):
        metadata: dict[str, str | int] = json.loads(metadata_path(target).read_text(encoding="utf-8"))
        return metadata
    return {}


def verify_file(target: Path, url: str, sha256: str) -> None:
    """Raises UserError if an existing file is neither the registered one nor, without a hash, the one first seen.

    The file is read only if it is new or its size has changed.
    """
    known = read_metadata(target)
    if known.get("bytes") == target.stat().st_size and known.get("sha256") == (sha256 or known.get("sha256")):
        return
    digest, expected = file_hash(target), sha256 or str(known.get("sha256", ""))
    if expected and digest != expected:
        raise UserError(
            f"{target}: not the file that was expected (SHA-256 {digest[:16]}…, and not {expected[:16]}…). "
            f"Delete it and download {url} again."
        )
    write_metadata(target, url, digest, target.stat().st_size)


def failure_reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
