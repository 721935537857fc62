"""Supervised labels: the ceiling of every table ("ImageNet labels").

The same encoder, data and budget with the answer given: cross-entropy on the
labels. Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NeurIPS 2012.
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks

Crops and mirror images are the views (their section 4.1); at small sizes a
crop is a shift by up to an eighth of the side.

Where we differ: no colour PCA and no dropout.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require


class Supervised(Method):
    """Classifies the pooled embedding."""

    checkpoints: ClassVar = {
        "torchvision_rn50": {
            "url": "https://download.pytorch.org/models/resnet50-19c8e357.pth",
            "linear": 0.761,
            "source": "https://github.com/facebookresearch/vissl/blob/main/MODEL_ZOO.md",
        },
        "vissl_rn50": {
            "url": (
                "vissl:sup_rn50_in1k_ep105_supervised_8gpu_resnet_17_07_20.733dbdee/"
                "model_final_checkpoint_phase208.torch"
            ),
            "linear": 0.7545,
        },
    }
    needs = frozenset({"labels"})

    def __init__(self, encoder: Encoder, facts: TrainInfo, *, shift: float = 0.125, flip: float = 0.5) -> None:
        super().__init__(encoder, facts)
        require(0 <= shift < 1, "supervised.shift", shift, "a share of the side, from 0 to below 1")
        require(0 <= flip <= 1, "supervised.flip", flip, "a probability")
        self.shift, self.flip = round(shift * facts.image_size), flip
        self.head = nn.Linear(encoder.dim, facts.classes)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the labels."""
        assert batch.labels is not None  # the data were asked for them
        views = augment.shifted(augment.flip_some(batch.images, self.flip), self.shift)
        logits = self.head(self.encoder(views))
        self.logged["accuracy"] = (logits.argmax(1) == batch.labels).float().mean()
        return F.cross_entropy(logits, batch.labels)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image with its label, and a view of it with the class that is thought likeliest."""
        assert batch.labels is not None
        views = augment.shifted(augment.flip_some(batch.images, self.flip), self.shift)
        shares, said = self.head(self.encoder(views)).float().softmax(1).max(1)
        labels = batch.labels.tolist()
        told = tuple(
            f"class {answer}, {share:.0%}: {'right' if answer == label else 'wrong'}"
            for answer, share, label in zip(said.tolist(), shares.tolist(), labels, strict=True)
        )
        return [
            Panel(title="image", images=batch.images, captions=tuple(f"class {label}" for label in labels)),
            Panel(title="view: of which class?", images=views, captions=told),
        ]
