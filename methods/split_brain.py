"""Split-brain autoencoder: half the network sees lightness and says the colours, the other half the reverse.

Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning by
Cross-Channel Prediction", CVPR 2017. https://arxiv.org/abs/1611.09842

An autoencoder may copy; to predict channels that it never sees it must know the
thing. One direction alone would leave the other channels unseen, so the network
is cut in two, each half solves one direction, and the features of both side by
side see the whole picture. Answers are classes (a*b* of a bin, L* of a step) or,
with ``target="regression"``, numbers.

Where we differ: the bins are those that sRGB reaches, fewer than the paper's 313;
answers are linear in the deepest maps and given at a quarter of the resolution,
for the mean of each square of 4 pixels; the encoder is the benchmark's, its
channels cut in halves at every layer; crops also vary in size.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, colour, require

from ._gamut import RANGE, Gamut, annealed_mean, cross_entropy
from ._quarter import QuarterMaps, enlarged, quartered


class SplitBrain(Method):
    """Predicts a* and b* from L*, and L* from a* and b*, at a quarter of the resolution."""

    steps: Tensor  # (lightness_bins, 1), the middle of each step of L*
    input_mode: ClassVar = "halves"

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        target: Literal["classes", "regression"] = "classes",
        lightness_bins: int = 100,
        crop: float = 0.47,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(target in ("classes", "regression"), "split_brain.target", target, "classes or regression")
        require(lightness_bins >= 2, "split_brain.lightness_bins", lightness_bins, "at least 2")
        require(0 < crop <= 1, "split_brain.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= flip <= 1, "split_brain.flip", flip, "a probability")
        self.target, self.crop, self.flip = target, crop, flip
        self.gamut = Gamut()
        middles = 100 * (torch.arange(lightness_bins) + 0.5) / lightness_bins
        self.register_buffer("steps", middles.unsqueeze(1), persistent=False)
        classes = target == "classes"
        self.chroma_head = QuarterMaps(encoder.dim // 2, len(self.gamut) if classes else 2)
        self.lightness_head = QuarterMaps(encoder.dim // 2, lightness_bins if classes else 1)

    def loss(self, batch: Batch) -> Tensor:
        """The sum of both directions' cross-entropies or squared errors; they share no weight."""
        views = augment.resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        truth = colour.lab(quartered(views))
        L, ab = truth[:, :1], truth[:, 1:]
        chroma, lightness = self.answers(views)
        if self.target == "regression":
            errors = F.mse_loss(chroma.float(), ab / RANGE), F.mse_loss(lightness.float(), L / 100)
        else:
            step = (L.squeeze(1) * len(self.steps) / 100).long().clamp(0, len(self.steps) - 1)
            nats = cross_entropy(chroma, *self.gamut.soft(ab)).mean()
            errors = nats, F.cross_entropy(lightness.float(), step)
        self.logged = {"chroma": errors[0].detach(), "lightness": errors[1].detach()}
        return errors[0] + errors[1]

    def answers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) -> what the half that sees L* says of a*b*, and the other of L* (N, …, S / 4, S / 4)."""
        seen = self.encoder.deepest(images).chunk(2, dim=1)  # lightness first, as the halves are joined
        return self.chroma_head(seen[0], images.shape[-1]), self.lightness_head(seen[1], images.shape[-1])

    def predicted(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) -> predicted L* (N, 1, S, S), and a* and b* (N, 2, S, S)."""
        chroma, lightness = self.answers(images)
        if self.target == "regression":
            ab, L = RANGE * chroma.float(), 100 * lightness.float()
        else:
            ab, L = self.gamut.decoded(chroma), annealed_mean(lightness, self.steps)
        return enlarged(L, images.shape[-1]), enlarged(ab, images.shape[-1])

    def panels(self, batch: Batch) -> list[Panel]:
        """The picture, its lightness as told from its colours, and its colours as told from its lightness."""
        images = augment.floats(batch.images)
        truth = colour.lab(images)
        L, ab = self.predicted(images)
        grey, coloured = colour.rgb(torch.cat([L, 0 * ab], dim=1)), colour.rgb(torch.cat([truth[:, :1], ab], dim=1))
        return [
            Panel(title="truth", images=batch.images),
            Panel(title="L* from a*b*", images=grey.clamp(0, 1)),
            Panel(title="a*b* from L*", images=coloured.clamp(0, 1)),
        ]
