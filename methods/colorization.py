"""Colourisation: say what colours a picture's lightness was photographed in.

Zhang, Isola and Efros, "Colorful Image Colorization", ECCV 2016.
https://arxiv.org/abs/1603.08511

Which colour a thing has is told by what it is. Many things come in several
colours, whose mean is grey, so a*b* is a class of the plane's bins instead of a
number (section 2.1), soft over the nearest five; and since most of a picture is
dull, rare colours weigh more (section 2.2). ``target="regression"`` is the
cross-channel encoder that predicts the numbers, to compare.

Where we differ: how frequent a colour is is counted over the batches seen so
far instead of over ImageNet beforehand; the bins are those that sRGB reaches,
fewer than the paper's; the answer is linear in the deepest maps, without the
paper's three further layers, and its truth the mean of the picture's squares of
4 pixels instead of every fourth pixel; crops also vary in size.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, colour, require

from ._gamut import RANGE, SIGMA, Gamut, cross_entropy
from ._quarter import QuarterMaps, enlarged, quartered


class Colorization(Method):
    """Predicts a* and b* at a quarter of the resolution; the encoder sees L* alone."""

    checkpoints: ClassVar = {
        "goyal19_rn50": {
            "url": "vissl:converted_vissl_rn50_colorization_in1k_goyal19.torch",
            "settings": {"last_stride": 1},
            "input": {"colour": "lightness", "mean": (50.0,), "std": (1.0,)},
            "linear": 0.4011,
        },
        "goyal19_alexnet": {
            "url": "vissl:converted_alexnet_colorization_in1k_pretext.torch",
            "encoder": "alexnet",
            "settings": {"widths": (96, 256, 384, 384, 256), "groups": 2, "padding": 0},
            "input": {"colour": "lightness", "mean": (50.0,), "std": (1.0,), "size": 227, "crop": 0.8867},
        },
    }
    counts: Tensor  # int64 (Q,), pixels of each bin so far, and one more
    input_mode: ClassVar = "lightness"

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        target: Literal["classes", "regression"] = "classes",
        uniform: float = 0.5,
        crop: float = 0.47,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(target in ("classes", "regression"), "colorization.target", target, "classes or regression")
        require(0 < uniform <= 1, "colorization.uniform", uniform, "a share above 0 to 1, where 1 rebalances nothing")
        require(0 < crop <= 1, "colorization.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= flip <= 1, "colorization.flip", flip, "a probability")
        self.target, self.uniform, self.crop, self.flip = target, uniform, crop, flip
        self.gamut = Gamut()
        self.register_buffer("counts", torch.ones(len(self.gamut), dtype=torch.long))
        self.head = QuarterMaps(encoder.dim, len(self.gamut) if target == "classes" else 2)

    def loss(self, batch: Batch) -> Tensor:
        """Rebalanced cross-entropy of each pixel's bin (equation 2), or the squared error of a* and b*."""
        views = augment.resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        answers, ab = self.answers(views), colour.lab(quartered(views))[:, 1:]
        guess, some = self.colours(answers.detach()[..., ::2, ::2]), ab[..., ::2, ::2]  # a quarter of them tell enough
        self.logged["ab_error"] = (guess - some).square().sum(1).sqrt().mean()
        if self.target == "regression":
            return F.mse_loss(answers.float(), ab / RANGE)
        bins, weights = self.gamut.soft(ab)
        nats, nearest = cross_entropy(answers, bins, weights), bins[..., 0]
        if self.training:
            self.counts += torch.zeros_like(self.counts).index_add_(
                0, nearest.flatten(), torch.ones_like(nearest).flatten()
            )
        self.logged["nats"] = nats.detach().mean()
        return (rarity(self.counts, self.gamut.bins, self.uniform)[nearest] * nats).mean()

    def answers(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> logits of the bins, or a* and b* over their range, (N, Q or 2, S / 4, S / 4)."""
        return self.head(self.encoder.deepest(images), images.shape[-1])

    def colours(self, answers: Tensor) -> Tensor:
        """Answers -> a* and b* (N, 2, S / 4, S / 4)."""
        return self.gamut.decoded(answers) if self.target == "classes" else RANGE * answers.float()

    def panels(self, batch: Batch) -> list[Panel]:
        """The picture, what the encoder sees of it, and that painted with the colours predicted."""
        images = augment.floats(batch.images)
        lightness = colour.lab(images)[:, :1]
        ab = enlarged(self.colours(self.answers(images)), images.shape[-1])
        grey, coloured = (colour.rgb(torch.cat([lightness, chroma], dim=1)).clamp(0, 1) for chroma in (0 * ab, ab))
        error = (quartered(ab) - colour.lab(quartered(images))[:, 1:]).norm(dim=1).mean((1, 2))
        return [
            Panel(title="truth", images=batch.images),
            Panel(title="grey", images=grey),
            Panel(title="coloured", images=coloured, captions=tuple(f"ab error {e:.0f}" for e in error.tolist())),
        ]


@augment.in_full_precision
def rarity(counts: Tensor, bins: Tensor, uniform: float) -> Tensor:
    """Pixels of each bin (Q,) and the bins (Q, 2) -> weights (Q,), of mean 1 over the pixels (equation 4).

    The shares are smoothed over the plane and mixed with a uniform one before they are inverted.
    """
    spread = (-torch.cdist(bins, bins).square() / (2 * SIGMA**2)).softmax(0)
    shares = spread @ (counts / counts.sum())
    weights = 1 / ((1 - uniform) * shares + uniform / len(bins))
    return weights / (shares * weights).sum()
