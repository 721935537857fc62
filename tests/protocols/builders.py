"""Representations with known features, for tests of protocols."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sslbench.bench.data import Dataset, Split
from sslbench.bench.encoders import Encoder
from sslbench.bench.evaluation.representation import Representation
from sslbench.bench.protocol import Protocol
from sslbench.protocols import correspondence
from sslbench.protocols.edges import borders_of
from sslbench.protocols.normals import normals_of

COLOURS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.7, 0.7, 0.7]])
CLASSES = len(COLOURS)


class GivenFeatures(Encoder):
    """An encoder without weights, whose only tap is the image itself: of images (N, D, 1, 1) the features (N, D)."""

    foldable = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.widths = {"conv5": dim}

    def features(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """The image as the feature maps of the tap."""
        return {"conv5": images.float()}


def representation_of(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Representation:
    """A representation whose train features are (N, D) and whose test features are (M, D)."""
    splits = [split_of(features, labels) for features, labels in ((train, train_labels), (test, test_labels))]
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset(
        name="given",
        classes=names,
        image_size=1,
        train=splits[0],
        test=splits[1],
        label_names=names,
        value_names=("number", "minus twice the number"),
    )
    encoder, dim = GivenFeatures(train.shape[1]), train.shape[1]
    return Representation(
        encoder,
        dataset,
        str(uuid4()),
        torch.device("cpu"),
        "fp32",
        build_encoder=lambda: GivenFeatures(dim),
        pretext={"bound": 1.5},
    )


def split_of(features: Tensor, labels: Tensor) -> Split:
    """Images that are features (N, D), and every kind of target per image, which the label decides alone."""
    numbers = labels.float()
    return Split(
        images=features[:, :, None, None],
        labels=labels,
        multi_labels=one_hot(labels, CLASSES).bool(),
        values=torch.stack([numbers, -2 * numbers], 1),
        captions=tuple(f"a {label}" for label in labels.tolist()),
    )


def ideal_representation(
    train: int = 40, test: int = 400, *, shuffled: bool = False, order: Tensor | None = None, noise: float = 0
) -> Representation:
    """Features (n, 3) that are the colour of the class, with a little noise, or with more if asked.

    With ``shuffled`` the labels are random; ``order`` permutes the train images.
    """
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(n) % CLASSES for n in (train, test)]
    features = [(COLOURS[y] + 0.05 * torch.rand(len(y), 3, generator=generator)).clamp(0, 1) for y in labels]
    features = [of_split + noise * torch.randn(of_split.shape, generator=generator) for of_split in features]
    if shuffled:
        labels = [y[torch.randperm(len(y), generator=generator)] for y in labels]
    if order is not None:
        features[0], labels[0] = features[0][order], labels[0][order]
    return representation_of(features[0], labels[0], features[1], labels[1])


def ideal_dense_representation(
    train: int = 40, test: int = 40, *, shuffled: bool = False, order: Tensor | None = None, noise: float = 0
) -> Representation:
    """Maps (n, 8, 8, 8) that hold the answers at each position: class, border, normal and depth of scenes of squares.

    The arguments are those of `ideal_representation`.
    """
    generator = torch.Generator().manual_seed(0)
    splits = []
    for count in (train, test):
        squares = torch.randint(CLASSES, (count, 4, 4), generator=generator)
        squares = squares.repeat_interleave(4, 1).repeat_interleave(4, 2)
        corners = torch.randint(8, (count, 2), generator=generator).tolist()
        masks = torch.stack([s[y : y + 8, x : x + 8] for s, (y, x) in zip(squares, corners, strict=True)])
        depth = 2 + masks + 0.1 * torch.arange(8)
        answers = [one_hot(masks, CLASSES).movedim(-1, 1)[:, :3], borders_of(masks)[:, None], normals_of(depth)]
        maps = torch.cat([*(answer.float() for answer in answers), depth[:, None]], 1)
        maps += noise * torch.randn(maps.shape, generator=generator)
        masks = masks.to(torch.uint8)
        if shuffled:
            places = torch.randperm(count, generator=generator)
            masks, depth = masks[places].flip(1).transpose(1, 2), depth[places].flip(1)
        labels = torch.arange(count) % CLASSES
        splits.append(Split(images=maps, labels=labels, masks=masks, depth=depth))
    if order is not None:
        splits[0] = replace(splits[0].subset(order), images=splits[0].images[order])
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset(name="given", classes=names, image_size=8, train=splits[0], test=splits[1], mask_classes=names)
    build = partial(GivenFeatures, 8)
    return Representation(build(), dataset, str(uuid4()), torch.device("cpu"), "fp32", build_encoder=build)


class ColourBlind(Representation):
    """A representation that does not see colours change: images are warped only."""

    def changed_features(self, *arguments: Any) -> Tensor:
        """As of any representation, without recolouring."""
        with patch.object(correspondence, "recolour", lambda images: images):
            return super().changed_features(*arguments)


def ideal_places_representation(
    train: int = 8, test: int = 16, *, shuffled: bool = False, order: Tensor | None = None, noise: float = 0
) -> Representation:
    """Maps (n, 3, 16, 16) that hold the place of each position, how far right, how far down, and about 1.

    The third is the same everywhere in an image, and a number of its own for each image.

    The arguments are those of `ideal_representation`; ``shuffled`` and ``order`` change nothing.
    """
    centres = (torch.arange(16) + 0.5) / 16
    places = torch.stack([centres.expand(16, 16), centres[:, None].expand(16, 16)])
    generator = torch.Generator().manual_seed(0)
    splits = []
    for count in (train, test):
        third = 1 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator).expand(-1, 1, 16, 16)
        maps = torch.cat([places.expand(count, -1, -1, -1), third], 1)
        maps = maps + noise * torch.randn(maps.shape, generator=generator)
        splits.append(Split(images=maps, labels=torch.arange(count) % CLASSES))
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset(name="given", classes=names, image_size=16, train=splits[0], test=splits[1])
    return ColourBlind(GivenFeatures(3), dataset, str(uuid4()), torch.device("cpu"), "fp32")


def ideal_clips_representation(
    train: int = 8, test: int = 12, *, shuffled: bool = False, order: Tensor | None = None, noise: float = 0
) -> Representation:
    """Clips (n, 4, 3, 16, 16) whose features are the colour of the object, two of which move in each clip.

    The arguments are those of `ideal_representation`, about clips and not images; ``order`` changes nothing.
    """
    generator = torch.Generator().manual_seed(0)
    splits = []
    for count in (train, test):
        masks = torch.zeros(count, 4, 16, 16, dtype=torch.uint8)
        for clip, (row, column) in zip(masks, torch.randint(4, (count, 2), generator=generator).tolist(), strict=True):
            for frame in range(4):
                clip[frame, row : row + 4, column + 3 * frame : column + 3 * frame + 4] = 1
                clip[frame, 12 - row : 16 - row, 12 - 3 * frame : 16 - 3 * frame] = 2
        clips = one_hot(masks.long(), 3).movedim(-1, 2).float()
        clips += noise * torch.randn(clips.shape, generator=generator)
        if shuffled:
            masks = masks.flip(2, 3)[torch.randperm(count, generator=generator)]
        images, labels = torch.zeros(count, 3, 16, 16), torch.arange(count) % CLASSES
        splits.append(Split(images=images, labels=labels, clips=clips, clip_masks=masks))
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset(name="given", classes=names, image_size=16, train=splits[0], test=splits[1])
    return Representation(GivenFeatures(3), dataset, str(uuid4()), torch.device("cpu"), "fp32")


def ideal_for(protocol: Protocol, **scene: Any) -> Representation:
    """Ideal features for what the protocol asks: one answer per image, per clip or per position."""
    if isinstance(protocol, correspondence.Correspondence):
        return ideal_places_representation(**scene)
    if "clips" in protocol.needs:
        return ideal_clips_representation(**scene)
    return (ideal_dense_representation if protocol.needs & {"masks", "depth"} else ideal_representation)(**scene)
