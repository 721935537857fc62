"""Denoising autoencoder: restore a picture from a corrupted one.

Vincent, Larochelle, Bengio and Manzagol, "Extracting and Composing Robust
Features with Denoising Autoencoders", ICML 2008.
https://doi.org/10.1145/1390156.1390294; noises other than masking and the
emphasis in "Stacked Denoising Autoencoders", JMLR 2010.
https://www.jmlr.org/papers/v11/vincent10a.html

What is missing can only be filled in from how pixels depend on each other, so
the code must hold that structure. Weights ``alpha`` on corrupted and ``beta``
on untouched elements shift the task from copying to restoring: with
``beta=0`` the identity is worth nothing. An element is one channel of a pixel.

Where we differ: the paper stacks layers that are trained one after the other,
with tied weights; here the whole encoder and a convolutional decoder of its
own are trained at once. The sum over elements is a mean.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._decoder import Decoder, psnr, side_of_maps


class Denoising(Method):
    """Encodes corrupted images, decodes the deepest maps, compares with the clean images."""

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        noise: Literal["gaussian", "masking", "salt_pepper", "none"] = "masking",
        level: float = 0.25,
        reconstruction: Literal["bce", "mse"] = "bce",
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__(encoder, facts)
        choices = ("gaussian", "masking", "salt_pepper", "none")
        require(noise in choices, "denoising.noise", noise, "gaussian, masking, salt_pepper or none")
        require(0 <= level <= 1, "denoising.level", level, "a share of the elements, or sigma, from 0 to 1")
        require(reconstruction in ("bce", "mse"), "denoising.reconstruction", reconstruction, "bce or mse")
        require(alpha > 0, "denoising.alpha", alpha, "above 0")
        require(beta >= 0, "denoising.beta", beta, "0 or more")
        require(beta > 0 or noise != "none", "denoising.beta", beta, "above 0 where nothing is corrupted")
        self.noise, self.level, self.reconstruction = noise, level, reconstruction
        self.alpha, self.beta = alpha, beta
        self.decoder = Decoder(encoder.dim, side=side_of_maps(encoder, facts.image_size), size=facts.image_size)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over elements of the weighted cross-entropy or squared error against the clean images."""
        clean = augment.floats(batch.images)
        noisy, touched = corrupted(clean, self.noise, self.level)
        outputs = self.decoder(self.encoder.deepest(noisy)).float()
        if self.reconstruction == "bce":
            errors = F.binary_cross_entropy_with_logits(outputs, clean, reduction="none")
        else:
            errors = (outputs - clean).square()
        self.logged["psnr"] = psnr((self.pictures(outputs.detach()) - clean).square().mean())
        return (torch.where(touched, self.alpha, self.beta) * errors).mean()

    def pictures(self, outputs: Tensor) -> Tensor:
        """The decoder's outputs as images in [0, 1]: its sigmoid units, or its linear ones cut off."""
        return outputs.sigmoid() if self.reconstruction == "bce" else outputs.clamp(0, 1)

    def panels(self, batch: Batch) -> list[Panel]:
        """The picture, what the encoder sees, what the decoder makes of it."""
        clean = augment.floats(batch.images)
        noisy = corrupted(clean, self.noise, self.level)[0]
        restored = self.pictures(self.decoder(self.encoder.deepest(noisy)).float())

        def decibels(images: Tensor) -> tuple[str, ...]:
            return tuple(f"{value:.1f} dB" for value in psnr((images - clean).square().mean((1, 2, 3))).tolist())

        return [
            Panel(title="clean", images=batch.images),
            Panel(title="corrupted", images=noisy.clamp(0, 1), captions=decibels(noisy)),
            Panel(title="reconstructed", images=restored, captions=decibels(restored)),
        ]


def corrupted(images: Tensor, noise: str, level: float) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] -> the corrupted ones, and which elements were touched, both (N, C, S, S).

    Of the shares each image has exactly round(level * elements) at places of its own; sigma is of values in [0, 1].
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
