"""Split-brain autoencoder: half the network predicts colour from lightness, the other half lightness from colour.

Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning by
Cross-Channel Prediction", CVPR 2017. https://arxiv.org/abs/1611.09842

A plain autoencoder can simply copy its input. To predict channels that it never
sees, a network must recognise what an image shows. With one direction alone the
predicted channels would have no features, so the network is split into two halves,
one per direction, whose concatenated features depend on the whole image. Targets
are classes (bins of a*b*, steps of L*) or, with ``target="regression"``, numbers.

Where we differ: the bins are those that sRGB reaches, fewer than the paper's 313.
Predictions are linear in the deepest feature maps, at a quarter of the image's
resolution; their targets are means over squares of 4 x 4 pixels. The encoder is the
benchmark's, with each layer's channels split into halves. Crops also vary in size.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment, colour

from ._gamut import RANGE, Gamut, annealed_mean, soft_cross_entropy
from ._quarter import QuarterMaps, average_to_quarter, enlarge


class SplitBrain(Method):
    """Predicts a* and b* from L*, and L* from a* and b*, at a quarter of the image's resolution."""

    year = 2017
    kind = "generative"
    steps: Tensor  # (lightness_bins, 1), the middle of each step of L*
    input_mode: ClassVar = "halves"

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        target: Literal["classes", "regression"] = "classes",
        lightness_bins: Annotated[int, Ge(2)] = 100,
        crop: PositiveShare = 0.47,  # the smallest crop's share of the area
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.target, self.crop, self.flip = target, crop, flip
        self.gamut = Gamut()
        middles = 100 * (torch.arange(lightness_bins) + 0.5) / lightness_bins
        self.register_buffer("steps", middles.unsqueeze(1), persistent=False)
        classes = target == "classes"
        self.chroma_head = QuarterMaps(encoder.dim // 2, len(self.gamut) if classes else 2)
        self.lightness_head = QuarterMaps(encoder.dim // 2, lightness_bins if classes else 1)

    def loss(self, batch: Batch) -> Tensor:
        """The sum of the cross-entropies, or squared errors, of both directions, which share no weights."""
        views = augment.random_resized_crops(batch.images, scale=(self.crop, 1.0), flip=self.flip)
        truth = colour.rgb_to_lab(average_to_quarter(views))
        L, ab = truth[:, :1], truth[:, 1:]
        chroma, lightness = self.predict(views)
        if self.target == "regression":
            errors = F.mse_loss(chroma.float(), ab / RANGE), F.mse_loss(lightness.float(), L / 100)
        else:
            step = (L.squeeze(1) * len(self.steps) / 100).long().clamp(0, len(self.steps) - 1)
            nats = soft_cross_entropy(chroma, *self.gamut.soft_encoding(ab)).mean()
            errors = nats, F.cross_entropy(lightness.float(), step)
        self.logged = {"chroma": errors[0].detach(), "lightness": errors[1].detach()}
        return errors[0] + errors[1]

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) -> outputs for a*b*, predicted from L*, and for L* from a*b* (N, …, S / 4, S / 4)."""
        from_lightness, from_chroma = self.encoder.last_features(images).chunk(2, dim=1)
        return self.chroma_head(from_lightness, images.shape[-1]), self.lightness_head(from_chroma, images.shape[-1])

    def predict_colours(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) -> predicted L* (N, 1, S, S), and a* and b* (N, 2, S, S)."""
        chroma, lightness = self.predict(images)
        if self.target == "regression":
            ab, L = RANGE * chroma.float(), 100 * lightness.float()
        else:
            ab, L = self.gamut.decode(chroma), annealed_mean(lightness, self.steps)
        return enlarge(L, images.shape[-1]), enlarge(ab, images.shape[-1])

    def panels(self, batch: Batch) -> list[Panel]:
        """The image, its lightness predicted from its colours, and its colours predicted from its lightness."""
        images = augment.to_float(batch.images)
        truth = colour.rgb_to_lab(images)
        L, ab = self.predict_colours(images)
        grey = colour.lab_to_rgb(torch.cat([L, 0 * ab], dim=1))
        coloured = colour.lab_to_rgb(torch.cat([truth[:, :1], ab], dim=1))
        return [
            Panel(title="image", images=batch.images),
            Panel(title="lightness (L*) predicted from colour", images=grey.clamp(0, 1)),
            Panel(title="colour (a*b*) predicted from lightness", images=coloured.clamp(0, 1)),
        ]
