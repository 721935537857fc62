"""Reads checkpoint files of unknown origin: only tensors, never code, in no more memory than the file's size."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from .location import is_index, shards_of
from .metadata import parse_metadata
from .refused_files import SAVE_AGAIN, code_reason, pickle_reason, program_format

MAX_BYTES = 16 * 2**30  # of a file, and of all that an archive unpacks to
MAX_DEPTH = 8  # of dictionaries in dictionaries
INERT_CLASSES = (
    *("argparse.Namespace", "collections.defaultdict", "pathlib.", "numpy.", "omegaconf.", "typing.Any"),
    *("lightning.", "lightning_fabric.", "pytorch_lightning.", "classy_vision.", "vissl.", "lib.NCEAverage."),
)
"""Beginnings of class names that training programs save next to weights. An `InertObject` replaces each object of such
a class; none of the class's code runs."""


@dataclass(frozen=True)
class FileContent:
    """What a checkpoint file holds."""

    groups: dict[str, dict[str, Tensor]]  # dotted path of a dictionary in the file ("" for the file) -> its tensors
    metadata: dict[str, Any]  # what sslbench wrote about the weights; empty for files of other programs
    memory_mapped: bool = True  # the tensors are the file's own bytes, and change if the file does


def read_checkpoint_file(path: Path, *, mmap: bool = True) -> FileContent:
    """The tensors of a safetensors or torch file, of the first such file in a .tar.gz, or of all files of an index.

    With ``mmap``, the tensors of a torch file are mapped into memory instead of read, so the file must stay. Raises
    UserError for anything else, for code, and for sizes that cannot be right.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint; give the path of a .safetensors or torch file.")
    if is_index(path):
        return read_shards(path)
    size = path.stat().st_size
    if not size:
        raise UserError(f"{path}: is empty; fetch or write it again.")
    if size > MAX_BYTES:
        raise UserError(
            f"{path}: {size:,} bytes are more than any encoder here needs ({MAX_BYTES:,}); it was not read."
        )
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\x1f\x8b"):
        return read_archive(path)
    metadata: dict[str, Any] = {}
    memory_mapped = mmap
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        (groups, metadata), memory_mapped = read_safetensors(path), True
    elif head.startswith(b"PK\x03\x04"):
        check_zip(path, size)
        groups = tensor_groups(read_torch_file(path, mmap=mmap))
    elif head.startswith(b"\x80"):
        groups, memory_mapped = tensor_groups(read_torch_file(path)), False
    else:
        kind = "text" if head.isascii() else "of no known format"
        raise UserError(
            f"{path}: is {kind} and not a checkpoint (it begins with {head[:12]!r}); it may be an error page "
            "or a pointer saved in the file's place. Fetch it again."
        )
    if not groups:
        raise UserError(f"{path}: holds no state dict of tensors; save encoder.state_dict() and give that file.")
    check_tensor_sizes(path, groups, size)
    return FileContent(groups, metadata, memory_mapped)


def read_shards(index: Path) -> FileContent:
    """The tensors of all files that an index lists, as one dictionary."""
    shards = shards_of(index)
    if (size := sum(shard.stat().st_size for shard in shards)) > MAX_BYTES:
        raise UserError(f"{index}: its files have {size:,} bytes, more than any encoder here needs; it was not read.")
    tensors: dict[str, Tensor] = {}
    memory_mapped = False
    for shard, names in shards.items():
        content = read_checkpoint_file(shard)
        memory_mapped |= content.memory_mapped
        found = content.groups.get("", {})
        if missing := names - found.keys():
            raise UserError(f"{index}: {shard.name} lacks {ascii(min(missing))[:80]}; fetch both again.")
        tensors |= {name: found[name] for name in names}
    return FileContent({"": tensors}, {}, memory_mapped)


def read_safetensors(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors of a safetensors file, and what sslbench wrote into its header."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: truncated or not a safetensors file ({error}); fetch or write it again.") from None
    return ({"": tensors} if tensors else {}), parse_metadata(path, header.get("facts", "{}"))


def read_metadata(path: Path) -> dict[str, Any]:
    """What sslbench wrote into a safetensors file's header; empty for any other file."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            return parse_metadata(path, (file.metadata() or {}).get("facts", "{}"))
    except (SafetensorError, OSError):
        return {}


class InertObject(dict[Any, Any]):
    """Replaces an object whose class is not loaded; keeps nothing of its state."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, _: Any) -> None:
        pass


def read_torch_file(path: Path, **options: Any) -> Any:
    """What ``torch.save`` wrote, read with ``weights_only``; raises UserError for a file with code or damage.

    ``options`` are passed on to ``torch.load``.
    """
    stand_ins: dict[str, type] = {}
    while True:
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(list(stand_ins.values())):
                warnings.simplefilter("ignore")  # of pickle protocols, which `pickle_reason` explains
                return torch.load(path, map_location="cpu", weights_only=True, **options)
        except Exception as error:
            refused = re.search(r"GLOBAL ([\w.]+\w)", str(error))
            name = refused[1] if refused else ""
            if name.startswith(INERT_CLASSES) and name not in stand_ins:
                module, _, class_name = name.rpartition(".")
                stand_ins[name] = type(class_name, (InertObject,), {"__module__": module})
                continue
            if explained := code_reason(name) if name else pickle_reason(path, INERT_CLASSES):
                raise UserError(f"{path}: {explained}") from None
            unpickler = re.search(r"WeightsUnpickler error: (.*)", str(error))
            reason = (unpickler[1] if unpickler else str(error).partition("\n")[0])[:200]
            raise UserError(
                f"{path}: cut short, damaged or not a file of plain tensors ({reason}); fetch it again."
            ) from None


def tensor_groups(state: Any, path: str = "", depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """Every dictionary of tensors in ``state``, at any depth, by its dotted path."""
    if not isinstance(state, Mapping) or depth > MAX_DEPTH:
        return {}
    tensors = {
        name: value.detach()
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
    }
    groups = {path: tensors} if tensors else {}
    for name, value in state.items():
        if isinstance(name, str):
            groups |= tensor_groups(value, f"{path}.{name}".lstrip("."), depth + 1)
    return groups


def check_zip(path: Path, size: int) -> None:
    """Raises UserError for a program, and for a zip that would unpack to more than its size.

    torch writes checkpoints uncompressed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: cut short or damaged ({error}); fetch it again.") from None
    if program := program_format(entry.filename for entry in entries):
        raise UserError(f"{path}: is {program}, which holds code that is never run; it was not loaded. {SAVE_AGAIN}")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f"{path}: would unpack to {claimed:,} bytes from {size:,}; torch writes checkpoints uncompressed, "
            "so this is not one, and it was not read."
        )


def check_tensor_sizes(path: Path, groups: dict[str, dict[str, Tensor]], size: int) -> None:
    """Raises UserError for a tensor that claims more bytes than its file has; no memory has been spent on it yet."""
    for tensors in groups.values():
        for name, value in tensors.items():
            if value.numel() * value.element_size() > size:
                raise UserError(
                    f"{path}: {name} claims the shape {tuple(value.shape)}, more than the file's {size:,} bytes "
                    "can hold; it was not loaded."
                )


def read_archive(path: Path) -> FileContent:
    """The content of the first checkpoint in a .tar.gz; states of optimisers are skipped."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive_members(path, archive):
                file = archive.extractfile(member)
                head = file.read(4) if file else b""
                if file and head.startswith((b"PK\x03\x04", b"\x80")):
                    folder = path.parent if os.access(path.parent, os.W_OK) else None
                    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacked-") as unpacked:
                        copy = Path(unpacked) / "checkpoint"
                        with copy.open("wb") as target:
                            target.write(head)
                            shutil.copyfileobj(file, target, 1 << 20)
                        # Windows deletes neither an open file nor a mapped one.
                        return read_checkpoint_file(copy, mmap=False)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: cut short or not a .tar.gz ({error}); fetch it again.") from None
    raise UserError(f"{path}: there is no checkpoint in this archive; unpack it and give one of its files.")


def archive_members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, one after the other; raises UserError as soon as their total size is too large."""
    total = 0
    for member in archive:
        total += member.size
        if total > MAX_BYTES:
            raise UserError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes; it was not read.")
        if member.isfile() and "optim" not in member.name.lower():
            yield member
