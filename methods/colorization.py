"""Colourisation: predict the colours of an image from its lightness.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016.
https://arxiv.org/abs/1603.08511

To predict the colour of an object the network must recognise the object. Many objects
come in several colours, whose mean is grey. So a*b* is not regressed but classified:
the plane is divided into bins (section 2.1), and the target is soft over the nearest
five. Most of an image is dull, so rare colours get larger weights (section 2.2).
``target="regression"`` predicts the numbers instead, for comparison.

Where we differ: the frequencies of colours are counted over the batches so far instead
of over ImageNet beforehand; the bins are those inside the sRGB gamut, fewer than the
paper's; a linear layer predicts from the deepest feature maps, instead of three more
convolutions; the target is the mean of each square of 4 x 4 pixels instead of every
fourth pixel; crops also vary in size.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import (
    Batch,
    Encoder,
    Method,
    Panel,
    PositiveShare,
    Share,
    TrainInfo,
    augment,
    colour,
    without_autocast,
)

from ._gamut import RANGE, SIGMA, Gamut, soft_cross_entropy
from ._quarter import QuarterMaps, average_to_quarter, enlarge


class Colorization(Method):
    """Predicts a* and b* at a quarter of the resolution; the encoder sees L* only."""

    year = 2016
    kind = "generative"
    counts: Tensor  # int64 (Q,), number of pixels per bin so far, plus one
    input_mode: ClassVar = "lightness"

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        target: Literal["classes", "regression"] = "classes",
        uniform: PositiveShare = 0.5,  # 1 gives all colours the same weight
        crop: PositiveShare = 0.47,
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.target, self.uniform, self.crop, self.flip = target, uniform, crop, flip
        self.gamut = Gamut()
        self.register_buffer("counts", torch.ones(len(self.gamut), dtype=torch.long))
        self.head = QuarterMaps(encoder.dim, len(self.gamut) if target == "classes" else 2)

    def loss(self, batch: Batch) -> Tensor:
        """Rebalanced cross-entropy of each pixel's bin (equation 2), or the squared error of a* and b*."""
        views = augment.random_resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        outputs, ab = self.predict(views), colour.rgb_to_lab(average_to_quarter(views))[:, 1:]
        sampled, truth = self.decode(outputs.detach()[..., ::2, ::2]), ab[..., ::2, ::2]  # enough for a logged number
        self.logged["ab_error"] = (sampled - truth).square().sum(1).sqrt().mean()
        if self.target == "regression":
            return F.mse_loss(outputs.float(), ab / RANGE)
        bins, weights = self.gamut.soft_encoding(ab)
        nats, nearest = soft_cross_entropy(outputs, bins, weights), bins[..., 0]
        if self.training:
            self.counts += torch.zeros_like(self.counts).index_add_(
                0, nearest.flatten(), torch.ones_like(nearest).flatten()
            )
        self.logged["nats"] = nats.detach().mean()
        return (rebalancing_weights(self.counts, self.gamut.bins, self.uniform)[nearest] * nats).mean()

    def predict(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> logits of the bins (N, Q, S / 4, S / 4), or scaled a* and b* (N, 2, S / 4, S / 4)."""
        outputs: Tensor = self.head(self.encoder.last_features(images), images.shape[-1])
        return outputs

    def decode(self, outputs: Tensor) -> Tensor:
        """Outputs of ``predict`` -> a* and b* (N, 2, S / 4, S / 4)."""
        return self.gamut.decode(outputs) if self.target == "classes" else RANGE * outputs.float()

    def panels(self, batch: Batch) -> list[Panel]:
        """The image, its lightness, which the encoder sees, and the lightness with the predicted colours."""
        images = augment.to_float(batch.images)
        lightness = colour.rgb_to_lab(images)[:, :1]
        ab = enlarge(self.decode(self.predict(images)), images.shape[-1])
        grey, coloured = (
            colour.lab_to_rgb(torch.cat([lightness, chroma], dim=1)).clamp(0, 1) for chroma in (0 * ab, ab)
        )
        error = (average_to_quarter(ab) - colour.rgb_to_lab(average_to_quarter(images))[:, 1:]).norm(dim=1).mean((1, 2))
        captions = tuple(f"ab error {e:.0f}" for e in error.tolist())
        return [
            Panel(title="image", images=batch.images),
            Panel(title="lightness", images=grey),
            Panel(title="predicted colours", images=coloured, captions=captions),
        ]


@without_autocast
def rebalancing_weights(counts: Tensor, bins: Tensor, uniform: float) -> Tensor:
    """Pixels per bin (Q,) and bins (Q, 2) -> weights of the bins (Q,), whose mean over pixels is 1 (equation 4).

    The distribution is smoothed over the plane and mixed with a uniform one before it is inverted.
    """
    smoothing = (-torch.cdist(bins, bins).square() / (2 * SIGMA**2)).softmax(0)
    shares = smoothing @ (counts / counts.sum())
    weights = 1 / ((1 - uniform) * shares + uniform / len(bins))
    return weights / (shares * weights).sum()
