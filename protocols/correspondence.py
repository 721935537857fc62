"""Correspondence: is a point of a picture found in a changed view of it, by features alone?

Nothing is trained. Each test picture is turned, resized, shifted and recoloured by known random amounts. Points of the
changed picture are searched in the original by the cosine similarity of the features there; maps are read between their
positions bilinearly, so that encoders with maps of any size answer the same question. A point is found if the most
similar place is within a tenth of the picture's side of the right one, as in the percentage of correct keypoints of Min
et al., "SPair-71k: A Large-scale Benchmark for Semantic Correspondence", 2019 (https://arxiv.org/abs/1908.10543).
There, a pair shows two objects of a class; here, it is a picture and a changed view of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from sslbench import (
    Count,
    FeatureSpec,
    Measurement,
    Metric,
    Panel,
    Protocol,
    Representation,
    augment,
    probes,
    statistics,
)

from ._dense import MAX_VALUES
from ._pictures import ROWS, colour_labels, shown_images

DISTANCE = 0.1  # of the picture's side, within which a point counts as found
SEARCH = 32  # places per side of the original among which points are searched
PICTURES = 16  # that are searched at once
SHOWN, MARK = 5, 3  # points in a picture that is shown, and pixels per side of their marks
FOUND_BY_CHANCE = math.pi * DISTANCE**2 - 8 / 3 * DISTANCE**3 + DISTANCE**4 / 2
"""How often two random places of a square are within DISTANCE of its side of each other."""


def random_warps(count: int, turn: float, resize: float, shift: float, generator: torch.Generator) -> Tensor:
    """Matrices (count, 2, 3) from places in the changed picture to places in the original, both from -1 to 1.

    ``turn`` is in degrees and ``shift`` a share of the side, each the most to either side; ``resize`` is the most by
    which the scale differs from 1, as a factor of 1 + resize or its inverse.
    """
    angle, size, right, down = (torch.rand(4, count, generator=generator) * 2 - 1).unbind()
    angle, scale = angle * math.radians(turn), (size * math.log1p(resize)).exp()
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([cos, -sin, 2 * shift * right, sin, cos, 2 * shift * down], 1).view(count, 2, 3)


def move_points(warps: Tensor, points: Tensor) -> Tensor:
    """Matrices (N, 2, 3) applied to points (N, P, 2), x before y."""
    moved: Tensor = points @ warps[:, :, :2].mT + warps[:, None, :, 2]
    return moved


def recolour(images: Tensor) -> Tensor:
    """Other colours, as views of contrastive methods get them, but never grey."""
    return augment.colour_jitter(images, grey=0)


@dataclass(frozen=True, kw_only=True)
class Correspondence(Protocol):
    """Share of the points of changed pictures that are found in the originals."""

    taps: tuple[str, ...] = ("conv3", "conv4")  # maps of later taps often have too few positions
    images: Count = 500  # test pictures, evenly spaced
    points: Count = 64  # per picture, at random places; those outside the original do not count
    turn: Annotated[float, Interval(ge=0, le=180)] = 30.0  # degrees, at most, to either side
    resize: Annotated[float, Interval(ge=0, le=1)] = 0.25  # at most so much larger, or smaller by the same factor
    shift: Annotated[float, Interval(ge=0, le=0.5)] = 0.15  # at most, as a share of the side
    presets: ClassVar = {"smoke": {"images": 50}}
    needs: ClassVar = frozenset()
    headline: ClassVar = "found"
    metrics: ClassVar = (Metric("found", "fraction", best=1, chance=FOUND_BY_CHANCE),)

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """Nothing that is stored: maps of changed pictures are computed when they are needed."""
        return ()

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the share of points that are found, at each tap."""
        for tap in self.taps:
            _, answers, places = self.search(representation, tap, self.images)
            inside = places.abs().amax(2) <= 1
            found = (answers - places).norm(dim=2) <= 2 * DISTANCE  # places from -1 to 1: the side is 2
            counted = inside.sum(1)
            shares = ((found & inside).sum(1) / counted)[counted > 0].double().numpy()
            low, high = statistics.bootstrap_mean_interval(shares)
            value = float(shares.mean())
            yield Measurement(
                tap=tap, metric="found", value=value, ci_low=low, ci_high=high, details={"points": int(counted.sum())}
            )

    def pictures(self, representation: Representation) -> list[Panel]:
        """Changed pictures with some points, where these really are, and where they are found at the last tap."""
        changed: list[Tensor] = []
        points, answers, places = self.search(representation, self.taps[-1], ROWS, changed)
        shown = [inside.nonzero()[:SHOWN, 0] for inside in places.abs().amax(2) <= 1]
        found = (answers - places).norm(dim=2) <= 2 * DISTANCE
        counts = (f"{int(of[some].sum())} of {len(some)}" for of, some in zip(found, shown, strict=True))
        originals = shown_images(representation, FeatureSpec(self.taps[-1], images=ROWS))
        return [
            Panel(title="changed", images=mark_points(torch.cat(changed), points, shown)),
            Panel(title="right places", images=mark_points(originals, places, shown)),
            Panel(
                title=f"found at {self.taps[-1]}",
                images=mark_points(originals, answers, shown),
                captions=tuple(counts),
            ),
        ]

    def search(
        self, representation: Representation, tap: str, images: int, changed: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Points of changed pictures (N, P, 2), where they are found in the originals, and where they really are.

        Places are from -1 to 1, x before y. The changed pictures are appended to ``changed``.
        """
        generator = torch.Generator().manual_seed(0)
        warps: list[Tensor] = []

        def change(batch: Tensor) -> Tensor:
            warps.append(random_warps(len(batch), self.turn, self.resize, self.shift, generator))
            views = recolour(warp_images(batch, warps[-1]))
            if changed is not None:
                changed.append(views)
            return views

        spec = FeatureSpec(tap, MAX_VALUES, "map")
        views = representation.changed_features(spec, change, images)
        originals = representation.changed_features(spec, lambda batch: batch, images)
        points = torch.rand(len(views), self.points, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
        return points, find_points(views, originals, points), move_points(torch.cat(warps), points)


def warp_images(images: Tensor, warps: Tensor) -> Tensor:
    """Images (N, C, S, S) whose places are those of the given ones under warps (N, 2, 3); borders are repeated."""
    floats = augment.to_float(images)
    grid = F.affine_grid(warps.to(floats.device), list(floats.shape), align_corners=False)
    return F.grid_sample(floats, grid, padding_mode="border", align_corners=False)


def find_points(changed: Tensor, originals: Tensor, points: Tensor) -> Tensor:
    """The most similar places (N, P, 2) in maps (N, C, h, w) for points (N, P, 2) of maps of changed pictures."""
    for maps in (changed, originals):
        probes.check_features(probes.position_rows(maps))
    centres = (torch.arange(SEARCH) + 0.5) * 2 / SEARCH - 1
    places = torch.cartesian_prod(centres, centres).flip(1)  # row by row, x before y
    answers = []
    for queries, bank, some in zip(*(part.split(PICTURES) for part in (changed, originals, points)), strict=True):
        rows = [read_maps(queries, some), read_maps(bank, places.expand(len(bank), -1, -1))]
        best = (rows[0] @ rows[1].mT).argmax(2)
        answers.append(places[best.cpu()])
    return torch.cat(answers)


def read_maps(maps: Tensor, points: Tensor) -> Tensor:
    """Normalised features (N, P, C) of maps (N, C, h, w) at points (N, P, 2), between positions bilinearly."""
    grid = points[:, None].to(maps.device)
    read = F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False)
    return F.normalize(read[:, :, 0].mT, dim=2)


def mark_points(images: Tensor, points: Tensor, shown: Sequence[Tensor]) -> Tensor:
    """Images (N, 3, S, S) at twice their size, with a coloured square at some of the points (N, P, 2) of each."""
    marked = F.interpolate(augment.to_float(images).cpu(), scale_factor=2.0)
    side = marked.shape[-1]
    for image, of_image, some in zip(marked, points, shown, strict=True):
        colours = colour_labels(torch.arange(1, len(some) + 1).view(-1, 1, 1))
        for (x, y), colour in zip(of_image[some].tolist(), colours, strict=True):
            left, top = (min(max(round((place + 1) / 2 * side - MARK / 2), 0), side - MARK) for place in (x, y))
            image[:, top : top + MARK, left : left + MARK] = colour
    return marked
