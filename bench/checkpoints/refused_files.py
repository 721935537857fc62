"""Why a file that torch refuses to read as plain tensors was refused: code in it, its format, or damage.

Nothing here runs what a file holds: pickles are read instruction by instruction, archives by the names of their files.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

SAFE_PROTOCOLS = (2, 3)  # pickle protocols that torch reads without running code
SAVE_AGAIN = "Save the tensors alone: torch.save(encoder.state_dict(), …)."
HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\.\w+|torch\._utils\._rebuild_\w+|_codecs\.encode|torch\.serialization\.\w+"
)
MAX_PICKLE_BYTES = 2**28


def program_format(names: Iterable[str]) -> str:
    """What kind of program the archive with these file names is; "" for none."""
    inner = {name.partition("/")[2] for name in names}
    if any(name.startswith("code/") for name in inner):
        return "a TorchScript program"
    if "archive_format" in inner or any(name.startswith("models/") for name in inner):
        return "an exported program (.pt2)"
    return ""


def pickle_reason(path: Path, inert: tuple[str, ...]) -> str:
    """Why a file's pickle is not plain tensors that torch reads, in one sentence with a remedy; "" if unknown.

    ``inert`` are beginnings of the names of classes that do not count as code.
    """
    content = pickle_content(path)
    if content is None:
        return ""
    protocol, names = scan_pickle(content)
    if code := [name for name in names if not (HARMLESS.fullmatch(name) or name.startswith(inert))]:
        return code_reason(code[0])
    if protocol not in SAFE_PROTOCOLS and (protocol or content.startswith((b"(", b"}", b"c"))):
        return (
            f"is written with pickle protocol {protocol or '0 or 1'}, of which torch cannot read tensors alone; "
            "load it where you trust it and save it again with torch.save's default protocol."
        )
    return ""


def code_reason(name: str) -> str:
    """The sentence for a file that holds code or objects; ``name`` is one of them."""
    return f"holds code or objects ({name}), which are never run; it was not loaded. {SAVE_AGAIN}"


def pickle_content(path: Path) -> bytes | None:
    """The bytes of a file's pickle; None if they are too many or not there."""
    try:
        if not zipfile.is_zipfile(path):
            return path.read_bytes() if path.stat().st_size <= MAX_PICKLE_BYTES else None
        with zipfile.ZipFile(path) as archive:
            entry = next((one for one in archive.infolist() if one.filename.endswith("data.pkl")), None)
            return archive.read(entry) if entry and entry.file_size <= MAX_PICKLE_BYTES else None
    except (OSError, zipfile.BadZipFile):
        return None


def scan_pickle(content: bytes) -> tuple[int, list[str]]:
    """The highest protocol that is declared, and the dotted names of all classes and functions; reads until damage."""
    protocol, names, texts = 0, [], [""]
    memo: dict[int, str] = {}
    try:
        while content:
            end = 0
            for code, argument, place in pickletools.genops(content):
                end = (place or 0) + 1
                if code.name == "PROTO":
                    protocol = max(protocol, int(argument or 0))
                elif code.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif code.name == "STACK_GLOBAL":
                    names.append(".".join(texts[-2:]))
                elif code.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                    memo[int(argument or 0) if code.arg else len(memo)] = texts[-1]
                elif code.name in ("BINGET", "LONG_BINGET", "GET"):
                    texts.append(memo.get(int(argument or 0), ""))
                elif isinstance(argument, str):
                    texts.append(argument)
            content = content[end:]  # old files are several pickles, one after the other
    except (ValueError, IndexError, UnicodeError):
        pass
    return protocol, [name for name in names if re.fullmatch(r"[\w.]+", name)]
