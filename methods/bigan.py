"""Bidirectional GAN (BiGAN): learn the inverse of a generator against a critic of (image, code) pairs.

Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning", ICLR 2017.
https://arxiv.org/abs/1605.09782; the same idea in Dumoulin et al.,
"Adversarially Learned Inference", ICLR 2017. https://arxiv.org/abs/1606.00704

The generator turns codes z into images G(z), the encoder turns images x into codes E(x). The critic is shown pairs and
must tell (x, E(x)) from (G(z), z). It cannot only if encoder and generator invert each other (theorem 2), so the
encoder must learn everything that the generator needs to know about an image.

Where we differ: the critic has no batch norm but a gradient penalty, R1 at the weight of its authors. E(x) is
batch-normalised and mapped to the range of the prior by erf, so that the critic cannot recognise codes by their
variance alone. One optimiser step updates all three networks. Images are mirrored but not cropped.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, NonNegative, Panel, Share, TrainInfo, augment

from ._adversarial import (
    CriticFeatures,
    call_frozen,
    discriminator_loss,
    equalise_learning_rates,
    gradient_penalty,
)
from ._decoder import Decoder, deepest_map_side
from ._heads import spread

SEED_SIDE = 4  # pixels: side of the generator's first feature maps


class BiGAN(Method):
    """Trains encoder and generator against a critic of (image, code) pairs."""

    year = 2017
    kind = "generative"
    short_run_settings: ClassVar = {"width": 16, "hidden": 256}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        latent: Count = 200,
        width: Count = 64,
        hidden: Count = 1024,
        penalty: NonNegative = 10.0,
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.latent, self.penalty, self.flip = latent, penalty, flip
        S, maps = train_info.image_size, 4 * width
        inputs = encoder.dim * deepest_map_side(encoder, S) ** 2
        self.code = nn.Sequential(nn.Linear(inputs, latent, bias=False), nn.BatchNorm1d(latent, affine=False))
        seed = (nn.Linear(latent, maps * SEED_SIDE**2, bias=False), nn.Unflatten(1, (maps, SEED_SIDE, SEED_SIDE)))
        generator = nn.Sequential(*seed, Decoder(maps, side=SEED_SIDE, size=S, width=maps), nn.Tanh())
        self.generator = equalise_learning_rates(generator)
        self.image_critic = equalise_learning_rates(CriticFeatures(S, width=width))
        self.pair_critic = equalise_learning_rates(PairCritic(self.image_critic.dim, latent, hidden))

    def loss(self, batch: Batch) -> Tensor:
        """The critic's loss, with codes and images detached, plus the other networks' loss, with inverted labels."""
        images = augment.to_float(augment.random_flip(batch.images, self.flip))
        z = self.sample_codes(images)
        Ex, Gz = self.encode(images), self.generator(z).float()
        x, code = 2 * images - 1, Ex.detach()
        features = self.image_critic(x)
        real, fake = self.pair_critic(features, code), self.pair_logits(Gz.detach(), z)
        critic = discriminator_loss(real, fake)
        frozen_fake = call_frozen(self.pair_critic, call_frozen(self.image_critic, Gz), z)
        fooling = discriminator_loss(frozen_fake, call_frozen(self.pair_critic, features.detach(), Ex))
        self.logged |= {"critic": critic.detach(), "fooling": fooling.detach()}
        self.logged["accuracy"] = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        self.logged["spread"] = spread(Ex)
        return critic + fooling + self.penalty * gradient_penalty(self.pair_logits, real, x, code)

    def pair_logits(self, x: Tensor, z: Tensor) -> Tensor:
        """The critic's logits (N,) for images in [-1, 1] and their codes; positive means (x, E(x))."""
        logits: Tensor = self.pair_critic(self.image_critic(x), z)
        return logits

    def sample_codes(self, images: Tensor) -> Tensor:
        """One code per image from the prior, which is uniform in [-1, 1]: (N, latent)."""
        return 2 * torch.rand(len(images), self.latent, device=images.device) - 1

    def encode(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> codes E(x) (N, latent), whose elements have the range and variance of the prior."""
        normal = self.code(self.encoder.last_features(images).flatten(1)).float()
        return torch.erf(normal / math.sqrt(2))

    def panels(self, batch: Batch) -> list[Panel]:
        """The images, what the generator makes of their codes, and what it makes of random codes."""
        codes = (self.encode(batch.images), self.sample_codes(batch.images))
        reconstructions, samples = (self.generator(z).float() / 2 + 0.5 for z in codes)
        return [
            Panel(title="image x", images=batch.images),
            Panel(title="reconstruction G(E(x))", images=reconstructions),
            Panel(title="sample G(z)", images=samples),
        ]


class PairCritic(nn.Module):
    """Classifies pairs of image features and a code: (x, E(x)) or (G(z), z)?"""

    def __init__(self, features: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.code_features = nn.Sequential(nn.Linear(latent, hidden), nn.LeakyReLU(0.2))
        self.classifier = nn.Sequential(nn.Linear(features + hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Features of images (N, features) and codes (N, latent) -> logits (N,)."""
        logits: Tensor = self.classifier(torch.cat([features, self.code_features(codes)], dim=1)).flatten()
        return logits
