"""Representations with known features, for tests of protocols."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import torch
from torch import Tensor

from sslbench.bench.data import Dataset, Split
from sslbench.bench.encoders import Encoder
from sslbench.bench.evaluation.representation import Representation

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
    splits = [
        Split(images=features[:, :, None, None], labels=labels)
        for features, labels in ((train, train_labels), (test, test_labels))
    ]
    names = tuple(map(str, range(CLASSES)))
    dataset = Dataset(name="given", classes=names, image_size=1, train=splits[0], test=splits[1])
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


def ideal_representation(
    train: int = 40, test: int = 400, *, shuffled: bool = False, order: Tensor | None = None
) -> Representation:
    """Features (n, 3) that are the colour of the class, with a little noise.

    With ``shuffled`` the labels are random; ``order`` permutes the train images.
    """
    generator = torch.Generator().manual_seed(0)
    labels = [torch.arange(n) % CLASSES for n in (train, test)]
    features = [(COLOURS[y] + 0.05 * torch.rand(len(y), 3, generator=generator)).clamp(0, 1) for y in labels]
    if shuffled:
        labels = [y[torch.randperm(len(y), generator=generator)] for y in labels]
    if order is not None:
        features[0], labels[0] = features[0][order], labels[0][order]
    return representation_of(features[0], labels[0], features[1], labels[1])
