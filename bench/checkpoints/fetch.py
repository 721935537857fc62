"""Downloads checkpoints, and fills encoders with them.

No other file distinguishes where a checkpoint's weights are kept: behind a URL, on the Hugging Face hub, in a library
or in a local file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..storage.atomic import temporary_path
from ..storage.download import NETWORK_ERRORS, download_file, failure_reason
from .registry import Checkpoint, CheckpointUnavailable

if TYPE_CHECKING:
    from ..encoders import Encoder


def fetch_checkpoint(checkpoint: Checkpoint) -> Iterator[tuple[int, int]]:
    """Downloads a checkpoint's file unless it is there; yields how many bytes are there and their total.

    Raises CheckpointUnavailable if the network fails, UserError for a file that is not the registered one.
    """
    if checkpoint.kind == "hub":
        yield from fetch_from_hub(checkpoint)
    elif checkpoint.kind == "url" and checkpoint.file:
        try:
            yield from download_file(checkpoint.url, checkpoint.file, checkpoint.sha256)
        except NETWORK_ERRORS as error:
            raise CheckpointUnavailable(unavailable_message(checkpoint, failure_reason(error))) from None


def fetch_from_hub(checkpoint: Checkpoint) -> Iterator[tuple[int, int]]:
    """Links a checkpoint's file to the Hugging Face hub's cache, into which the hub's own library downloads it."""
    assert checkpoint.file
    if checkpoint.file.exists():
        return
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(f"{checkpoint.token}: needs huggingface_hub; pip install huggingface_hub.") from None
    owner, repository, file = checkpoint.url.removeprefix("hf:").split("/", 2)
    yield 0, 0
    try:
        cached = hf_hub_download(f"{owner}/{repository}", file)
    except Exception as error:  # the hub's library raises its own kinds and those of two others
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise CheckpointUnavailable(unavailable_message(checkpoint, reason)) from None
    link_or_copy(Path(cached).resolve(), checkpoint.file)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes ``target`` a link to a file, or a copy where the system lets this user make no links, as Windows does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source)
    except OSError:
        part = temporary_path(target)
        shutil.copyfile(source, part)
        os.replace(part, target)


def unavailable_message(checkpoint: Checkpoint, reason: str) -> str:
    """Why a checkpoint is not there, and how to download it by hand."""
    return (
        f"{checkpoint.token}: could not be downloaded ({reason}). Fetch {checkpoint.url} by hand, put it at "
        f"{checkpoint.file}, and run the same command again."
    )


def load_checkpoint(checkpoint: Checkpoint, encoder: Encoder) -> dict[str, Any]:
    """Fills the encoder with the checkpoint's weights and returns their metadata.

    Raises CheckpointUnavailable if they are not there, UserError if they do not fit the encoder.
    """
    from . import store

    if checkpoint.kind == "untrained":
        return {}
    if checkpoint.file:
        if not checkpoint.file.exists():
            raise CheckpointUnavailable(unavailable_message(checkpoint, "it is not here"))
        return store.load_encoder(checkpoint.file, encoder, checkpoint.part)
    from .libraries import library_weights

    return store.fill_encoder(Path(checkpoint.token), {"": library_weights(checkpoint)}, encoder)
