"""Reads what somebody else wrote: tensors alone, never code, in no more memory than the file is long."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError

LIMIT = 16 * 2**30  # bytes of a file, and of what an archive unpacks to
DEEP = 8  # dictionaries within dictionaries
HARMLESS = (
    *("argparse.Namespace", "collections.defaultdict", "pathlib.", "numpy.", "omegaconf.", "typing.Any"),
    *("lightning.", "lightning_fabric.", "pytorch_lightning.", "classy_vision.", "vissl.", "lib.NCEAverage."),
)
"""What training programs keep beside weights: an inert stand-in is read in its place, nothing of it is run."""


@dataclass(frozen=True)
class Contents:
    """A file's dictionaries of tensors by their dotted path in it ("" is the file itself), and its facts if ours."""

    groups: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]
    mapped: bool = True  # the tensors are the file's own bytes, which change when it does


def contents(path: Path) -> Contents:
    """What a checkpoint holds; raises UserError for anything but plain tensors of a believable size."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint; give the path of a .safetensors or torch file.")
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path}: is empty; fetch or write it again.")
    if size > LIMIT:
        raise UserError(f"{path}: {size:,} bytes are more than any encoder here needs ({LIMIT:,}); it was not read.")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\x1f\x8b"):
        return unpacked(path)
    facts: dict[str, Any] = {}
    mapped = True
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        groups, facts = safe(path)
    elif head.startswith(b"PK\x03\x04"):
        check_stored(path, size)
        groups = grouped(loaded(path, mmap=True))
    elif head.startswith(b"\x80"):
        groups, mapped = grouped(loaded(path)), False
    else:
        kind = "text" if head.isascii() else "of no known format"
        raise UserError(
            f"{path}: is {kind} and no checkpoint (it begins with {head[:12]!r}); it may be an error page "
            "or a pointer saved in the file's place. Fetch it again."
        )
    if not groups:
        raise UserError(f"{path}: holds no state dict of tensors; save encoder.state_dict() and give that file.")
    check_shapes(path, groups, size)
    return Contents(groups, facts, mapped)


def safe(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors of a safetensors file, and the facts in its header."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: truncated or no safetensors file ({error}); fetch or write it again.") from None
    return ({"": tensors} if tensors else {}), facts


class Inert(dict[Any, Any]):
    """Stands for an object of a class that is not loaded, and remembers nothing."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass


def loaded(path: Path, **how: Any) -> Any:
    """What torch saved, with ``weights_only``; raises UserError for a file that is damaged or holds code."""
    stand_ins: dict[str, type] = {}
    while True:
        try:
            with torch.serialization.safe_globals(list(stand_ins.values())):
                return torch.load(path, map_location="cpu", weights_only=True, **how)
        except Exception as error:
            told = re.search(r"GLOBAL ([\w.]+\w)", str(error))
            name = told[1] if told else ""
            if name.startswith(HARMLESS) and name not in stand_ins:
                module, _, own = name.rpartition(".")
                stand_ins[name] = type(own, (Inert,), {"__module__": module})
                continue
            if name:
                raise UserError(
                    f"{path}: holds code or objects ({name}), which are never run; it was not loaded. "
                    "Save the tensors alone: torch.save(encoder.state_dict(), …)."
                ) from None
            within = re.search(r"WeightsUnpickler error: (.*)", str(error))
            reason = (within[1] if within else str(error).partition("\n")[0])[:200]
            raise UserError(
                f"{path}: cut short, damaged or not a file of plain tensors ({reason}); fetch it again."
            ) from None


def grouped(state: Any, path: str = "", depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """Every dictionary that holds tensors by name, by its dotted path."""
    if not isinstance(state, Mapping) or depth > DEEP:
        return {}
    tensors = {
        name: value.detach()
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    groups = {path: tensors} if tensors else {}
    for name, value in state.items():
        if isinstance(name, str):
            groups |= grouped(value, f"{path}.{name}".lstrip("."), depth + 1)
    return groups


def check_stored(path: Path, size: int) -> None:
    """Raises UserError where a zip would unpack to more than it is: torch writes its files uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: cut short or damaged ({error}); fetch it again.") from None
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f"{path}: would unpack to {claimed:,} bytes from {size:,}; torch writes checkpoints uncompressed, "
            "so this is none, and it was not read."
        )


def check_shapes(path: Path, groups: dict[str, dict[str, Tensor]], size: int) -> None:
    """Raises UserError for a tensor larger than its file, which no memory has been spent on yet."""
    for tensors in groups.values():
        for name, value in tensors.items():
            if value.numel() * value.element_size() > size:
                raise UserError(
                    f"{path}: {name} claims the shape {tuple(value.shape)}, more than the file's {size:,} bytes "
                    "can hold; it was not loaded."
                )


def unpacked(path: Path) -> Contents:
    """What the first checkpoint in a .tar.gz holds, states of optimisers aside."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in members(path, archive):
                file = archive.extractfile(member)
                head = file.read(4) if file else b""
                if file and head.startswith((b"PK\x03\x04", b"\x80")):
                    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".unpacked-") as whole:
                        whole.write(head)
                        shutil.copyfileobj(file, whole, 1 << 20)
                        whole.flush()
                        return contents(Path(whole.name))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: cut short or no .tar.gz ({error}); fetch it again.") from None
    raise UserError(f"{path}: no checkpoint is in this archive; unpack it and give a file of it.")


def members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, one after the other; raises UserError once they are too large together."""
    total = 0
    for member in archive:
        total += member.size
        if total > LIMIT:
            raise UserError(f"{path}: unpacks to more than {LIMIT:,} bytes; it was not read.")
        if member.isfile() and "optim" not in member.name.lower():
            yield member
