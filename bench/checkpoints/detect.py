"""Detects which encoder a checkpoint file holds: the candidate that all of its tensors fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from ..encoders import Encoder
from ..errors import UserError
from .hints import suggest_encoder
from .match import Match
from .mismatch import mismatch_message, shorten_list
from .registry import Checkpoint
from .safe_load import read_checkpoint_file
from .state_dict import complete_matches, search_file


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
    path: Path,
    candidates: Sequence[Checkpoint],
    skeletons: SkeletonCache,
    *,
    part: str = "",
    keep_settings: bool = False,
) -> Checkpoint:
    """The first candidate whose encoder matches the file, or its named part, in every tensor.

    Some programs change an encoder in a way that no shape shows. Its settings are then set as the program that wrote
    the file does, unless ``keep_settings``. If several parts of the file hold the encoder, the checkpoint's part says
    which one was taken. Raises UserError if no candidate matches, or several different ones do.
    """
    content = read_checkpoint_file(path)
    made_by = str(content.metadata.get("method") or "")
    matching: list[Checkpoint] = []
    resizable: list[Checkpoint] = []  # with position embeddings of another size
    done: list[Checkpoint] = []  # candidates that match
    assumed = ""  # what the tensors of the first match do not show
    closest: tuple[float, Match | None, Encoder] | None = None
    # Encoders that sslbench pretrained were shown the data set's images unchanged, so such candidates come first.
    for candidate in sorted(distinct_candidates(candidates), key=lambda one: bool(made_by and one.input_spec)):
        if any(same_network(candidate, other) for other in done):
            continue  # the same network with a likelier input matches already
        encoder = skeletons.get(candidate)
        if encoder is None:
            continue
        match = search_file(content.groups, encoder, part).best
        if match and match.complete:
            found = replace(candidate, part=part or part_taken(content.groups, encoder, match))
            if not content.metadata:  # sslbench does not change encoders
                found = with_settings_of(found, encoder, match, only_normalisation=keep_settings)
            if not (matching or match.resized) and found.settings == candidate.settings:
                assumed = encoder.unseen_in_files
            (resizable if match.resized else matching).append(found)
            done += [candidate] * (not match.resized)
        share = match.share if match else 0.0
        if closest is None or share > closest[0]:
            closest = (share, match, encoder)
    matching = matching or resizable[:1]
    if not matching:
        assert closest
        refuse(path, content.groups, closest[1], closest[2], part)
    first = matching[0]
    if rivals := [other for other in matching if not same_network(first, other)]:
        raise UserError(
            f"{path}: fits {first.encoder} and also {rivals[0].encoder} with other settings; "
            f"say which with --methods file/{path}@ENCODER."
        )
    if assumed and not content.metadata:
        logging.getLogger(__name__).warning("%s: %s", path, assumed)
    return replace(first, made_by=made_by)


def with_settings_of(checkpoint: Checkpoint, encoder: Encoder, match: Match, *, only_normalisation: bool) -> Checkpoint:
    """The checkpoint with the settings and the normalisation of the program that wrote its file.

    The normalisation stays if it was set, or the encoder is named with weights of a library, as in timm/NAME.WEIGHTS.
    """
    names = [name.removeprefix(match.prefix) for name in match.left_out]
    settings = encoder.settings_from_extra_keys(names)
    normalisation = {key: settings.pop(key) for key in ("mean", "std") if key in settings}
    if "." in checkpoint.encoder or "mean" in checkpoint.settings:
        normalisation = {}
    settings = {} if only_normalisation else settings
    if spec := checkpoint.input_spec:  # its normalisation comes before that of the settings
        return replace(checkpoint, settings=checkpoint.settings | settings, input_spec=replace(spec, **normalisation))
    return replace(checkpoint, settings=checkpoint.settings | settings | normalisation)


def part_taken(groups: Mapping[str, dict[str, Tensor]], encoder: Encoder, match: Match) -> str:
    """The dictionary in the file that the match is in, if others hold the encoder too; "" if it is the only one."""
    return match.container if len(complete_matches(groups, encoder)) > 1 else ""


def refuse(
    path: Path, groups: Mapping[str, dict[str, Tensor]], closest: Match | None, encoder: Encoder, part: str
) -> NoReturn:
    """Raises UserError for a file that no candidate matches, with what the closest one lacks and what to write."""
    if part and closest is None:
        raise UserError(
            f"{path}: has no part {part!r}; it has {shorten_list(sorted(filter(None, groups)) or ['none'])}."
        )
    suggested = suggest_encoder(groups)
    hint = f"Name its encoder, for example --methods file/{path}@{suggested or 'torchvision/resnet34'}."
    if closest and closest.wrong_shapes and all("relative_position_bias" in name for name in closest.wrong_shapes):
        hint = (
            "Tables of relative positions are not interpolated to another window; "
            "name after @ a network with the file's own input and window size."
        )
    if others := complete_matches(groups, encoder):
        hint = f"Its part {others[0].place!r} fits: --methods file/{path}#{others[0].place}."
    raise UserError(f"{mismatch_message(path, groups, closest, encoder)} {hint}")


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
