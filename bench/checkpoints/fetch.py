"""Brings checkpoints here and fills encoders with them: the only place that knows how each kind comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..storage.download import GONE, downloaded, told
from .registry import Absent, Checkpoint


def fetched(found: Checkpoint) -> Iterator[tuple[int, int]]:
    """Makes sure that a checkpoint's file is here; yields bytes there and bytes in all.

    Raises Absent with the sentence that helps where there is no network, UserError for a file
    that is not the registered one.
    """
    if found.kind == "hub":
        yield from from_hub(found)
    elif found.kind == "url" and found.file:
        try:
            yield from downloaded(found.url, found.file, found.sha256)
        except GONE as error:
            raise Absent(by_hand(found, told(error))) from None


def from_hub(found: Checkpoint) -> Iterator[tuple[int, int]]:
    """A file of the Hugging Face hub, by its own library and cache."""
    assert found.file
    if found.file.exists():
        return
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(f"{found.token}: needs huggingface_hub; pip install huggingface_hub.") from None
    owner, repository, file = found.url.removeprefix("hf:").split("/", 2)
    yield 0, 0
    try:
        kept = hf_hub_download(f"{owner}/{repository}", file)
    except Exception as error:  # the hub's library raises kinds of its own and those of two others
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise Absent(by_hand(found, reason)) from None
    found.file.parent.mkdir(parents=True, exist_ok=True)
    found.file.unlink(missing_ok=True)
    found.file.symlink_to(Path(kept).resolve())


def by_hand(found: Checkpoint, reason: str) -> str:
    """What to do where the network does not."""
    return (
        f"{found.token}: could not be downloaded ({reason}). Fetch {found.url} by hand, put it at {found.file}, "
        "and run the same command again."
    )


def fill(found: Checkpoint, encoder: Any) -> dict[str, Any]:
    """Fills the encoder and returns what is known of the weights; raises Absent or UserError."""
    from . import store as checkpoints

    if found.kind == "untrained":
        return {}
    if found.file:
        if not found.file.exists():
            raise Absent(by_hand(found, "it is not here"))
        return checkpoints.load(found.file, encoder)
    from .libraries import weights

    return checkpoints.take(Path(found.token), {"": weights(found)}, encoder)
