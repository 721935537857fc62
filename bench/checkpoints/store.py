"""Where an encoder's weights come from: a given file, the cache, the bundle; and how they are kept.

Weights are data, never code (``foreign/reading.py``). A file is taken whole, whatever its layout
(``foreign/layouts.py``), or refused.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as packed
from torch import Tensor

from ..encoders import Encoder, weights_hash
from ..errors import UserError
from ..method import Method
from ..plugins.discovery import ROOT
from ..storage.atomic import write_whole
from ..storage.cache import cache_folder
from ..storage.hashing import file_hash
from .safe_load import contents
from .state_dict import fitted

BUNDLE = ROOT / "methods" / "pretrained"


def cached(recipe_hash: str) -> Path:
    """Where this user's cache keeps the encoder of a recipe, whether or not it is there."""
    return cache_folder() / "encoders" / f"{recipe_hash}.safetensors"


def cached_heads(recipe_hash: str) -> Path:
    """Where this user's cache keeps what a recipe's method has beside its encoder, whether or not it is there."""
    return cached(recipe_hash).with_suffix(".heads.safetensors")


def interrupted(recipe_hash: str) -> Path:
    """Where a pretraining that was cut off left what it needs to go on."""
    return cache_folder() / "encoders" / f"{recipe_hash}.partial"


def bundled(recipe_hash: str) -> Path | None:
    """The encoder of a recipe among those that come with the project."""
    return next(iter(BUNDLE.glob(f"*-{recipe_hash}.safetensors")), None)


def found(recipe_hash: str) -> tuple[str, Path] | None:
    """Kind of source and file of a recipe's encoder: the cache before the bundle; None if neither has it."""
    if (path := cached(recipe_hash)).exists():
        return "cached", path
    if bundle := bundled(recipe_hash):
        return "bundled", bundle
    return None


def save(path: Path, encoder: Encoder, facts: dict[str, Any]) -> None:
    """Writes the encoder's weights and what is known of them, whole or not at all."""
    write(path, {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}, facts)


def heads_of(method: Method) -> dict[str, Tensor]:
    """What a method's state holds beside its encoder's (heads, teachers, queues), by name: views, no copies."""
    own = {id(value) for value in method.encoder.state_dict(keep_vars=True).values()}
    state = {name: value for name, value in method.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    # By identity and not by name, since the encoder may also be a part of something else.
    return {name: value.detach() for name, value in state.items() if id(value) not in own}


def save_heads(path: Path, method: Method, facts: dict[str, Any]) -> None:
    """Writes the method's heads, and for which weights of its encoder they were made."""
    tensors = {
        name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in heads_of(method).items()
    }
    write(path, tensors, facts | {"weights": weights_hash(method.encoder)})


def load_heads(path: Path, method: Method) -> dict[str, Any] | None:
    """Fills the method's heads and returns the facts kept with them.

    None, and nothing is filled, where the file is missing or damaged, or was made for other heads
    or for other weights of the encoder: heads can be learnt again.
    """
    try:
        tensors, facts = tensors_in(path)
    except UserError:
        return None
    heads = heads_of(method)
    fits = {name: value.shape for name, value in tensors.items()} == {name: v.shape for name, v in heads.items()}
    if not fits or facts.get("weights") != weights_hash(method.encoder):
        return None
    method.load_state_dict(method.state_dict() | tensors)
    return facts


def write(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """A safetensors file with facts in its header, put in its place all at once."""
    write_whole(path, packed(tensors, {"facts": json.dumps(facts, sort_keys=True)}))


def bundle(file: Path, dataset: str, encoder: str) -> Path:
    """Copies a cached encoder into the project in half precision, and lists it with its SHA-256; returns its path."""
    tensors, facts = tensors_in(file)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        raise UserError(f"{file}: holds numbers beyond half precision, and so cannot be bundled.")
    recipe = facts["recipe"]
    stem = f"{dataset}-{encoder.replace('/', '_')}-{facts['method']}-{recipe['preset']}-s{recipe['seed']}"
    path = BUNDLE / f"{stem}-{facts['recipe_hash']}.safetensors"
    write(path, halves, facts)
    for older in set(BUNDLE.glob(f"{stem}-*.safetensors")) - {path}:
        older.unlink()
    known = {
        file.name: {"sha256": file_hash(file)} | tensors_in(file)[1] for file in sorted(BUNDLE.glob("*.safetensors"))
    }
    write_whole(BUNDLE / "manifest.json", (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
    return path


def load(path: Path, encoder: Encoder) -> dict[str, Any]:
    """Fills the encoder from a file and returns the facts kept with the weights; a foreign file's are its layout.

    Raises UserError where the file is damaged, holds code, or does not match the encoder in every
    name and shape.
    """
    check_listed(path)
    inside = contents(path)
    return inside.facts | take(path, inside.groups, encoder, keep=not inside.mapped)


def take(path: Path, groups: dict[str, dict[str, Tensor]], encoder: Encoder, *, keep: bool = False) -> dict[str, Any]:
    """Fills the encoder from what a file holds and returns where in it that was; raises UserError as ``load`` does.

    With ``keep`` the tensors are nobody else's, and need not be copied.
    """
    fit = fitted(path, groups, encoder)
    for name, value in fit.found.items():
        if not finite(value):
            raise UserError(f"{path}: {name} holds values that are not finite; use another checkpoint.")
    # A whole fit needs no look of load_state_dict at names, which takes as long as the copying.
    place(fit.found, encoder.state_dict(keep_vars=True), keep=keep)
    return {"layout": fit.layout} if fit.layout else {}


@torch.no_grad()
def place(found: dict[str, Tensor], own: dict[str, Tensor], *, keep: bool) -> None:
    """Puts values into an encoder's tensors of the same names; with ``keep`` uncopied where none shares them."""
    holders = {value.data_ptr(): name for name, value in found.items()}  # of tied tensors one alone
    for name, value in found.items():
        alone = holders[value.data_ptr()] == name and value.untyped_storage().nbytes() == value.nbytes
        alike = (value.dtype, value.device, value.stride()) == (own[name].dtype, own[name].device, own[name].stride())
        if keep and alone and alike:
            own[name].data = value
        else:
            own[name].copy_(value)


def finite(value: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity, in one pass mostly and no memory."""
    if not value.is_floating_point() or math.isfinite(value.sum().item()):
        return True
    low, high = (value if value.dtype in (torch.float32, torch.float64) else value.float()).aminmax()
    return math.isfinite(low.item()) and math.isfinite(high.item())


def manifest() -> dict[str, dict[str, Any]]:
    """What is known of each bundled file, its SHA-256 among it, by file name."""
    path = BUNDLE / "manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); restore it from the repository.") from None


def check_listed(path: Path) -> None:
    """Raises UserError where a bundled file is not the one that the manifest lists."""
    listed = path.is_file() and path.resolve().parent == BUNDLE.resolve()
    if listed and manifest().get(path.name, {}).get("sha256") != file_hash(path):
        raise UserError(f"{path}: not the file that manifest.json lists; restore it from the repository.")


def tensors_in(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the facts kept beside them, of a file of ours; raises UserError for any other."""
    inside = contents(path)
    if "" not in inside.groups:
        raise UserError(f"{path}: holds no state dict of tensors; save encoder.state_dict() and give that file.")
    return inside.groups[""], inside.facts
