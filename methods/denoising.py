"""Denoising autoencoder: restore an image from a corrupted version.

Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust
Features with Denoising Autoencoders", ICML 2008.
https://doi.org/10.1145/1390156.1390294; noises other than masking and the
emphasis in "Stacked Denoising Autoencoders", JMLR 2010.
https://www.jmlr.org/papers/v11/vincent10a.html

Corrupted pixels can only be restored from their dependence on other pixels, so the
features must capture that dependence. The weights ``alpha`` of corrupted and ``beta`` of
intact elements shift the task between restoring and copying: with ``beta=0``, copying
the input earns nothing. An element is one channel of one pixel.

Where we differ: the paper stacks layers that are trained one after the other with tied
weights; here the whole encoder and a separate convolutional decoder are trained at once.
The loss is a mean over elements instead of a sum.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import (
    Batch,
    Encoder,
    Method,
    NonNegative,
    Panel,
    Positive,
    Share,
    TrainInfo,
    augment,
    require,
)

from ._decoder import Decoder, deepest_map_side, psnr


class Denoising(Method):
    """Encodes corrupted images, decodes the deepest feature maps and compares the result with the clean images."""

    year = 2008
    kind = "generative"

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        noise: Literal["gaussian", "masking", "salt_pepper", "none"] = "masking",
        level: Share = 0.25,  # share of corrupted elements, or the standard deviation of gaussian noise
        reconstruction: Literal["bce", "mse"] = "bce",
        alpha: Positive = 1.0,
        beta: NonNegative = 1.0,
    ) -> None:
        super().__init__(encoder, train_info)
        require(beta > 0 or noise != "none", "denoising.beta", beta, "above 0 if denoising.noise is none")
        self.noise, self.level, self.reconstruction = noise, level, reconstruction
        self.alpha, self.beta = alpha, beta
        S = train_info.image_size
        self.decoder = Decoder(encoder.dim, side=deepest_map_side(encoder, S), size=S)

    def loss(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy or squared error against the clean images, averaged over elements."""
        clean = augment.to_float(batch.images)
        noisy, touched = corrupt_images(clean, self.noise, self.level)
        outputs = self.decoder(self.encoder.last_features(noisy)).float()
        if self.reconstruction == "bce":
            errors = F.binary_cross_entropy_with_logits(outputs, clean, reduction="none")
        else:
            errors = (outputs - clean).square()
        self.logged["psnr"] = psnr((self.outputs_as_images(outputs.detach()) - clean).square().mean())
        return (torch.where(touched, self.alpha, self.beta) * errors).mean()

    def outputs_as_images(self, outputs: Tensor) -> Tensor:
        """The decoder's outputs as images in [0, 1]: through a sigmoid for ``bce``, clipped for ``mse``."""
        return outputs.sigmoid() if self.reconstruction == "bce" else outputs.clamp(0, 1)

    def panels(self, batch: Batch) -> list[Panel]:
        """The clean image, the corrupted image that the encoder sees, and the reconstruction."""
        clean = augment.to_float(batch.images)
        noisy = corrupt_images(clean, self.noise, self.level)[0]
        restored = self.outputs_as_images(self.decoder(self.encoder.last_features(noisy)).float())

        def decibel_captions(images: Tensor) -> tuple[str, ...]:
            return tuple(f"{value:.1f} dB" for value in psnr((images - clean).square().mean((1, 2, 3))).tolist())

        return [
            Panel(title="clean image", images=batch.images),
            Panel(title="corrupted", images=noisy.clamp(0, 1), captions=decibel_captions(noisy)),
            Panel(title="reconstructed", images=restored, captions=decibel_captions(restored)),
        ]


def corrupt_images(images: Tensor, noise: str, level: float) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] -> corrupted images, and a bool mask of the corrupted elements, both (N, C, S, S).

    Masking and salt_pepper corrupt exactly round(level * elements) random elements per image. Gaussian noise of
    standard deviation ``level`` corrupts all of them and is not clipped.
    """
    if noise == "none":
        return images, torch.zeros_like(images, dtype=torch.bool)
    if noise == "gaussian":
        return images + level * torch.randn_like(images), torch.ones_like(images, dtype=torch.bool)
    order = torch.rand_like(images).flatten(1)
    chosen = order.topk(round(level * order.shape[1]), sorted=False).indices
    touched = torch.zeros_like(order, dtype=torch.bool).scatter_(1, chosen, True).view_as(images)
    extremes = (torch.rand_like(images) < 0.5).float() if noise == "salt_pepper" else torch.zeros_like(images)
    return torch.where(touched, extremes, images), touched
