"""Where an encoder's weights come from: a given file, the cache, the bundle; and how they are kept.

Weights are data, never code: safetensors, or torch files read with ``weights_only=True``. A file
is taken whole or refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor

from bench.data._cache import cache_folder
from bench.encoders import Encoder
from bench.errors import UserError
from bench.method import Method
from bench.plugins import ROOT
from bench.recipe import file_hash
from bench.records import write_whole

COUNTER = "num_batches_tracked"  # steers nothing in evaluation, and many files leave it out
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
    """Fills the encoder from a file and returns the facts kept with the weights ({} in foreign files).

    Raises UserError where the file is damaged, holds code, or does not match the encoder in every
    name and shape.
    """
    check_listed(path)
    tensors, facts = tensors_in(path)
    target = encoder.state_dict()
    optional = {name for name in target if name.endswith(COUNTER)}
    missing = sorted(target.keys() - tensors.keys() - optional)
    unknown = sorted(tensors.keys() - target.keys())
    shapes = sorted(name for name in target.keys() & tensors.keys() if target[name].shape != tensors[name].shape)
    if missing or unknown or shapes:
        told = [
            f"{label} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
            for label, names in (
                ("missing:", missing),
                ("not of this encoder:", unknown),
                ("of another shape:", shapes),
            )
            if names
        ]
        raise UserError(
            f"{path}: these weights do not fit the encoder; {'; '.join(told)}. "
            "Choose the --encoder they were made with."
        )
    broken = sorted(name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all())
    if broken:
        raise UserError(f"{path}: {broken[0]} holds values that are not finite; use another checkpoint.")
    encoder.load_state_dict({name: tensors.get(name, target[name]) for name in target})
    return facts


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
    """Tensors by name, and the facts kept beside them; raises UserError for anything that is not plain tensors."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such checkpoint; give the path of a .safetensors or torch file.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                facts = json.loads((file.metadata() or {}).get("facts", "{}"))
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 - no mapping
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path}: truncated or no safetensors file ({error}); fetch or write it again.") from None
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a file of plain tensors, or damaged ({reason}); it was not loaded.") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path}: holds no state dict of tensors; save encoder.state_dict() and give that file.")
    return state, {}


def weights_hash(encoder: Encoder) -> str:
    """Hex digest of all weights and batch-norm statistics: the content, whatever the file was called."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if name.endswith(COUNTER):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
