"""Supervised labels: the ceiling of every table ("ImageNet labels").

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", NeurIPS 2012.
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks

The encoder, data and budget are those of every other method, but the labels are
given, and the loss is their cross-entropy. Views are crops and mirror images
(section 4.1); a crop is a shift by up to an eighth of the side.

Where we differ: no colour augmentation by PCA and no dropout.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, Share, ShareBelowOne, TrainInfo, augment


class Supervised(Method):
    """Classifies the pooled embedding with a linear layer."""

    year = 2012
    kind = "reference"
    needs = frozenset({"labels"})

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        shift: ShareBelowOne = 0.125,  # of the side
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.shift, self.flip = round(shift * train_info.image_size), flip
        self.head = nn.Linear(encoder.dim, train_info.num_classes)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the labels."""
        assert batch.labels is not None
        views = self.draw_views(batch.images)
        logits = self.head(self.encoder(views))
        self.logged["accuracy"] = (logits.argmax(1) == batch.labels).float().mean()
        return F.cross_entropy(logits, batch.labels)

    def draw_views(self, images: Tensor) -> Tensor:
        """One view of each image: mirror and shift (N, 3, S, S)."""
        return augment.random_shift(augment.random_flip(images, self.flip), self.shift)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image with its label, and a view of it with the predicted class."""
        assert batch.labels is not None
        views = self.draw_views(batch.images)
        probabilities, guesses = self.head(self.encoder(views)).float().softmax(1).max(1)
        labels = batch.labels.tolist()
        captions = tuple(
            f"class {guess}, {p:.0%}: {'right' if guess == label else 'wrong'}"
            for guess, p, label in zip(guesses.tolist(), probabilities.tolist(), labels, strict=True)
        )
        return [
            Panel(title="image", images=batch.images, captions=tuple(f"class {label}" for label in labels)),
            Panel(title="view: of which class?", images=views, captions=captions),
        ]
