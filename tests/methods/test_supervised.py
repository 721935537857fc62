"""The supervised ceiling: cross-entropy of the labels on shifted and mirrored images."""

from __future__ import annotations

import math

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.images.augment import random_flip, random_shift
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods.supervised import Supervised


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """It is the mean of -log of the true class's probability, on views shifted by up to an eighth of the side."""
    torch.manual_seed(0)
    method = Supervised(ConvNet(32, width=4), TrainInfo(num_images=64, num_classes=10, image_size=32)).eval()
    images, labels = tiny.train.images[:6], tiny.train.labels[:6]
    assert len(labels.unique()) > 1
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(6), labels=labels))
    torch.manual_seed(1)
    views = random_shift(random_flip(images, 0.5), 4)
    terms, right = [], []
    for view, label in zip(views, labels.tolist(), strict=True):
        logits = method.head(method.encoder(view.unsqueeze(0)))[0].tolist()
        terms.append(math.log(sum(math.exp(z) for z in logits)) - logits[label])
        right.append(max(range(10), key=logits.__getitem__) == label)
    assert loss.item() == pytest.approx(sum(terms) / 6, abs=1e-4)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 6)


def test_the_head_has_one_output_per_class() -> None:
    """With two classes it has two outputs."""
    assert Supervised(ConvNet(32), TrainInfo(num_images=9, num_classes=2, image_size=32)).head.out_features == 2
