"""Detects which encoder a checkpoint file holds: the candidate that all of its tensors fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..encoders import Encoder
from ..errors import UserError
from .registry import Checkpoint
from .safe_load import read_checkpoint_file
from .state_dict import Match, mismatch_message, search_file


def build_skeleton(checkpoint: Checkpoint, image_size: int) -> Encoder:
    """The checkpoint's encoder on the meta device: names and shapes of its tensors without their memory.

    ``image_size`` is in pixels and used if the checkpoint asks for no size of its own.
    """
    assert checkpoint.plugin
    spec = checkpoint.input_spec
    with torch.device("meta"):
        encoder: Encoder = checkpoint.plugin.load()(spec.size if spec else image_size, **checkpoint.settings)
        return encoder.with_input_spec(spec) if spec else encoder


class SkeletonCache:
    """Skeletons of candidates. Equal candidates share one, because building takes longer than comparing."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.skeletons: dict[tuple[str, str, int], Encoder | None] = {}

    def get(self, candidate: Checkpoint) -> Encoder | None:
        """The candidate's skeleton; None if the images are too small for this encoder."""
        size = candidate.input_spec.size if candidate.input_spec else self.image_size
        key = (candidate.encoder, repr(sorted(candidate.settings.items())), size)
        if key not in self.skeletons:
            try:
                self.skeletons[key] = build_skeleton(candidate, self.image_size)
            except UserError:
                if candidate.encoder.startswith("own/"):
                    raise
                self.skeletons[key] = None
        return self.skeletons[key]


def detect_encoder(
    path: Path, candidates: Sequence[Checkpoint], skeletons: SkeletonCache, *, keep_settings: bool = False
) -> Checkpoint:
    """The first candidate whose encoder matches the file in every tensor.

    Some programs change an encoder in a way that no shape shows. Its settings are then set as the program that wrote
    the file does, unless ``keep_settings``. Raises UserError if no candidate matches, or several different ones do.
    """
    content = read_checkpoint_file(path)
    made_by = str(content.metadata.get("method", ""))
    matching: list[Checkpoint] = []
    closest: tuple[float, Match | None, Encoder] | None = None
    # Encoders that sslbench pretrained were shown the data set's images unchanged, so such candidates come first.
    for candidate in sorted(distinct_candidates(candidates), key=lambda one: bool(made_by and one.input_spec)):
        if any(same_network(candidate, other) for other in matching):
            continue  # the same network with a likelier input matches already
        encoder = skeletons.get(candidate)
        if encoder is None:
            continue
        match = search_file(content.groups, encoder).best
        if match and match.complete:
            more = {} if keep_settings else encoder.settings_from_extra_keys(match.left_out)
            matching.append(replace(candidate, settings=candidate.settings | more))
        share = match.share if match else 0.0
        if closest is None or share > closest[0]:
            closest = (share, match, encoder)
    if not matching:
        assert closest
        message = mismatch_message(path, content.groups, closest[1], closest[2])
        raise UserError(f"{message} Name its encoder, for example --methods file/{path}@torchvision/resnet34.")
    first = matching[0]
    if rivals := [other for other in matching if not same_network(first, other)]:
        raise UserError(
            f"{path}: fits {first.encoder} and also {rivals[0].encoder} with other settings; "
            f"say which with --methods file/{path}@ENCODER."
        )
    return replace(first, made_by=made_by)


def same_network(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two candidates have the same encoder with the same settings."""
    return (one.encoder, one.settings) == (other.encoder, other.settings)


def distinct_candidates(candidates: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The candidates without those that repeat an earlier one's network and input."""
    distinct: list[Checkpoint] = []
    for one in candidates:
        if not any(same_network(one, other) and one.input_spec == other.input_spec for other in distinct):
            distinct.append(one)
    return distinct
