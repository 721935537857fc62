"""Where encoders that were pretrained by this project are: in the cache of this user, or in the bundle.

The bundle is the folder of pretrained encoders that comes with the project. Nothing here needs torch.
"""

from __future__ import annotations

from pathlib import Path

from ..plugins.discovery import ROOT
from ..storage.cache import cache_folder

BUNDLE = ROOT / "methods" / "pretrained"


def cached_encoder_path(recipe_hash: str) -> Path:
    """Path in the cache of the encoder of a recipe; the file may not exist."""
    return cache_folder() / "encoders" / f"{recipe_hash}.safetensors"


def cached_heads_path(recipe_hash: str) -> Path:
    """Path in the cache of the heads of a recipe's method; the file may not exist."""
    return cached_encoder_path(recipe_hash).with_suffix(".heads.safetensors")


def partial_run_path(recipe_hash: str) -> Path:
    """Path in the cache of what an interrupted pretraining needs to resume; the file may not exist."""
    return cache_folder() / "encoders" / f"{recipe_hash}.partial"


def find_bundled(recipe_hash: str) -> Path | None:
    """The bundled encoder of a recipe; None if there is none."""
    return next(iter(BUNDLE.glob(f"*-{recipe_hash}.safetensors")), None)


def find_pretrained(recipe_hash: str) -> tuple[str, Path] | None:
    """ "cached" or "bundled", and the file of a recipe's encoder; None if it is in neither place."""
    if (path := cached_encoder_path(recipe_hash)).exists():
        return "cached", path
    if bundled := find_bundled(recipe_hash):
        return "bundled", bundled
    return None
