"""Which encoder a file holds: the one of those known that all of its tensors fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..encoders import Encoder
from ..errors import UserError
from .registry import Checkpoint
from .safe_load import contents
from .state_dict import Search, refusal, search


def built(found: Checkpoint, image_size: int) -> Encoder:
    """The encoder on no device, at the size it wants."""
    assert found.plugin
    with torch.device("meta"):
        encoder = found.plugin.load()(found.input_spec.size if found.input_spec else image_size, **found.settings)
        return encoder.with_input_spec(found.input_spec) if found.input_spec else encoder


class Skeletons:
    """Candidates as encoders on no device; those built alike are one, since building takes longer than looking."""

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size
        self.kept: dict[tuple[str, str, int], Encoder | None] = {}

    def of(self, candidate: Checkpoint) -> Encoder | None:
        """The candidate's; None where pictures are too small for it."""
        size = candidate.input_spec.size if candidate.input_spec else self.image_size
        way = (candidate.encoder, repr(sorted(candidate.settings.items())), size)
        if way not in self.kept:
            try:
                self.kept[way] = built(candidate, self.image_size)
            except UserError:
                if candidate.encoder.startswith("own/"):
                    raise
                self.kept[way] = None
        return self.kept[way]


def recognised(
    path: Path, candidates: Sequence[Checkpoint], skeletons: Skeletons, *, as_told: bool = False
) -> Checkpoint:
    """The first candidate that fits, which for files of ours sees pictures as they come.

    Its settings are as the program that wrote the file sets them, unless ``as_told``. Raises UserError
    where none fits, or two that are built differently.
    """
    inside = contents(path)
    made_by = str(inside.facts.get("method", ""))
    fitting: list[Checkpoint] = []
    best: tuple[float, Search, Encoder] | None = None
    for candidate in sorted(distinct(candidates), key=lambda one: bool(made_by and one.input_spec)):
        if any((one.encoder, one.settings) == (candidate.encoder, candidate.settings) for one in fitting):
            continue  # it fits, seeing pictures in a likelier way
        encoder = skeletons.of(candidate)
        if encoder is None:
            continue
        found = search(inside.groups, encoder)
        if found.best and found.best.whole:
            beside = {} if as_told else encoder.settings_from_extra_keys(found.best.left_out)
            fitting.append(replace(candidate, settings=candidate.settings | beside))
        share = found.best.share if found.best else 0.0
        if best is None or share > best[0]:
            best = (share, found, encoder)
    if not fitting:
        assert best
        told = refusal(path, inside.groups, best[1].best, best[2])
        raise UserError(f"{told} Such as --methods file/{path}@torchvision/resnet34.")
    first = fitting[0]
    if rivals := [other for other in fitting if (other.encoder, other.settings) != (first.encoder, first.settings)]:
        raise UserError(
            f"{path}: fits {first.encoder} and also {rivals[0].encoder} with other settings; "
            f"say which with --methods file/{path}@ENCODER."
        )
    return replace(first, made_by=made_by)


def distinct(candidates: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Each way to build and to see once."""
    kept: list[Checkpoint] = []
    for one in candidates:
        ways = [(other.encoder, other.settings, other.input_spec) for other in kept]
        kept += [] if (one.encoder, one.settings, one.input_spec) in ways else [one]
    return kept
