"""Saves encoders and loads them again, from given files, this user's cache and the bundle (``pretrained_files.py``).

Files are read without running code (``safe_load.py``), and fill an encoder completely or not at all
(``state_dict.py``).
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from ..encoders import Encoder, weights_hash
from ..errors import UserError
from ..method import Method
from ..storage.atomic import atomic_write
from ..storage.hashing import file_hash
from . import pretrained_files
from .location import split_part
from .pretrained_files import (
    cached_encoder_path as cached_encoder_path,
    cached_heads_path as cached_heads_path,
    find_bundled as find_bundled,
    find_pretrained as find_pretrained,
    partial_run_path as partial_run_path,
)
from .safe_load import FileContent, read_checkpoint_file
from .state_dict import complete_matches, find_match

CHECKSUM = "crc32"  # its name in the header of a file

WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types that weights may have in a file."""


def save_encoder(path: Path, encoder: Encoder, metadata: dict[str, Any]) -> None:
    """Writes the encoder's weights and their metadata atomically."""
    write_tensors(path, {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}, metadata)


def head_tensors(method: Method) -> dict[str, Tensor]:
    """The tensors of a method's state that are not its encoder's (heads, teachers, queues), by name; not copied."""
    encoder_ids = {id(value) for value in method.encoder.state_dict(keep_vars=True).values()}
    state = {name: value for name, value in method.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    # Compared by identity, not by name, because a method may hold its encoder in a second place too.
    return {name: value.detach() for name, value in state.items() if id(value) not in encoder_ids}


def save_heads(path: Path, method: Method, metadata: dict[str, Any]) -> None:
    """Writes the method's heads, with the hash of the encoder weights that they belong to."""
    tensors = {
        name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in head_tensors(method).items()
    }
    write_tensors(path, tensors, metadata | {"weights": weights_hash(method.encoder)})


def load_heads(path: Path, method: Method) -> dict[str, Any] | None:
    """Fills the method's heads and returns their metadata.

    Returns None and changes nothing if the file is missing or damaged, or belongs to other heads or to other weights
    of the encoder: heads can be trained again.
    """
    try:
        tensors, metadata = read_tensors(path)
    except UserError:
        return None
    heads = head_tensors(method)
    fits = {name: value.shape for name, value in tensors.items()} == {name: v.shape for name, v in heads.items()}
    if not fits or metadata.get("weights") != weights_hash(method.encoder):
        return None
    method.load_state_dict(method.state_dict() | tensors)
    return metadata


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Writes a safetensors file with the metadata and a checksum in its header, atomically."""
    facts = metadata | {CHECKSUM: checksum_of(tensors)}
    atomic_write(path, serialize(tensors, {"facts": json.dumps(facts, sort_keys=True)}))


def checksum_of(tensors: dict[str, Tensor]) -> int:
    """The CRC-32 of all values, in the order of their names."""
    value = 0
    for _, tensor in sorted(tensors.items()):
        value = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, value)
    return value


def read_intact_file(path: Path) -> FileContent:
    """The content of a checkpoint file. Raises UserError if its tensors have changed since `write_tensors` wrote them.

    Files of other programs have no checksum.
    """
    content = read_checkpoint_file(path)
    expected = content.metadata.pop(CHECKSUM, None)
    if expected is not None and expected != checksum_of(content.groups.get("", {})):
        raise UserError(f"{path}: damaged, its tensors are not those that were written; delete the file.")
    return content


def bundle_encoder(file: Path, dataset: str, encoder: str) -> Path:
    """Copies a cached encoder into the bundle in half precision and lists its SHA-256; returns its path."""
    tensors, metadata = read_tensors(file)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        raise UserError(f"{file}: holds values beyond the range of half precision, so it cannot be bundled.")
    recipe = metadata["recipe"]
    stem = f"{dataset}-{encoder.replace('/', '_')}-{metadata['method']}-{recipe['preset']}-s{recipe['seed']}"
    path = pretrained_files.BUNDLE / f"{stem}-{metadata['recipe_hash']}.safetensors"
    write_tensors(path, halves, metadata)
    for older in set(pretrained_files.BUNDLE.glob(f"{stem}-*.safetensors")) - {path}:
        older.unlink()
    manifest = {
        file.name: {"sha256": file_hash(file)} | read_tensors(file)[1]
        for file in sorted(pretrained_files.BUNDLE.glob("*.safetensors"))
    }
    atomic_write(
        pretrained_files.BUNDLE / "manifest.json", (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    )
    return path


def load_encoder(path: Path, encoder: Encoder, part: str = "") -> dict[str, Any]:
    """Fills the encoder from a file and returns the metadata in it, and where in the file the encoder was.

    ``part`` names the dictionary in the file or the prefix that holds the encoder; the path may end in #part instead.
    Raises UserError if the file is damaged, holds code, or differs from the encoder in any name or shape.
    """
    if not part:
        path, part = split_part(path)
    check_bundled_file(path)
    content = read_intact_file(path)
    return content.metadata | fill_encoder(path, content.groups, encoder, part, adopt=not content.memory_mapped)


def fill_encoder(
    path: Path, groups: dict[str, dict[str, Tensor]], encoder: Encoder, part: str = "", *, adopt: bool = False
) -> dict[str, Any]:
    """Fills the encoder from a file's tensors and returns where in the file they were; raises as `load_encoder` does.

    If no part is named and several fit, the part that was taken and the others are returned too.

    With ``adopt`` nothing else uses the tensors, so the encoder may take them without copying.
    """
    match = find_match(path, groups, encoder, part)
    targets = encoder.state_dict(keep_vars=True)
    for name, value in match.tensors.items():
        check_values(path, name, value, targets[name])
    # The match is complete. load_state_dict would check the names again, which takes as long as copying.
    assign_tensors(match.tensors, targets, adopt=adopt)
    found: dict[str, Any] = {"layout": match.layout} if match.layout else {}
    fitting = [one.place for one in complete_matches(groups, encoder)] if len(groups) > 1 and not part else []
    if others := [place for place in fitting if place != match.place]:
        found |= {"part": match.place, "other_parts": others}
    return found


@torch.no_grad()
def assign_tensors(values: dict[str, Tensor], targets: dict[str, Tensor], *, adopt: bool) -> None:
    """Gives each target the value of its name; with ``adopt`` without copying, unless two values share memory."""
    owners = {value.data_ptr(): name for name, value in values.items()}  # of tied tensors, the last one
    for name, value in values.items():
        target = targets[name]
        unshared = owners[value.data_ptr()] == name and value.untyped_storage().nbytes() == value.nbytes
        same_layout = (value.dtype, value.device, value.stride()) == (target.dtype, target.device, target.stride())
        if adopt and unshared and same_layout:
            target.data = value
        else:
            target.copy_(value)


def check_values(path: Path, name: str, value: Tensor, target: Tensor) -> None:
    """Raises UserError for values that are no floating-point weights, not finite, or beyond the target's range."""
    if not target.is_floating_point():
        return
    if value.dtype not in WEIGHT_TYPES:
        kind = str(value.dtype).removeprefix("torch.")
        raise UserError(
            f"{path}: {name} holds {kind} values, which are not weights in floating point but perhaps quantised; "
            "save the encoder's weights as float32."
        )
    largest = largest_magnitude(value)
    if not math.isfinite(largest):
        raise UserError(f"{path}: {name} holds values that are not finite; use another checkpoint.")
    if largest > torch.finfo(target.dtype).max:
        kind = str(target.dtype).removeprefix("torch.")
        raise UserError(f"{path}: {name} holds {largest:g}, beyond the range of {kind}; use another checkpoint.")


def largest_magnitude(value: Tensor) -> float:
    """A bound of the magnitude of a tensor's values that float32 holds, or the exact magnitude; NaN if any is NaN."""
    if not value.numel():
        return 0.0
    # A sum is one pass that allocates no memory, and is finite only if all values are.
    if value.dtype != torch.float64 and math.isfinite(value.sum().item()):
        return 0.0
    low, high = (value if value.dtype in (torch.float32, torch.float64) else value.float()).aminmax()
    return max(abs(low.item()), abs(high.item()))


def read_manifest() -> dict[str, dict[str, Any]]:
    """SHA-256 and metadata of each bundled file, by file name."""
    path = pretrained_files.BUNDLE / "manifest.json"
    try:
        manifest: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); restore it from the repository.") from None
    return manifest


def check_bundled_file(path: Path) -> None:
    """Raises UserError for a file in the bundle that differs from its entry in the manifest."""
    in_bundle = path.is_file() and path.resolve().parent == pretrained_files.BUNDLE.resolve()
    if in_bundle and read_manifest().get(path.name, {}).get("sha256") != file_hash(path):
        raise UserError(f"{path}: not the file that manifest.json lists; restore it from the repository.")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and metadata, of a file that sslbench wrote; raises UserError for any other."""
    content = read_intact_file(path)
    if "" not in content.groups:
        raise UserError(f"{path}: holds no state dict of tensors; save encoder.state_dict() and give that file.")
    return content.groups[""], content.metadata
