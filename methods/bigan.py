"""Bidirectional GAN (BiGAN): invert a generator, so that no critic can tell (x, E(x)) from (G(z), z).

Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning", ICLR 2017.
https://arxiv.org/abs/1605.09782; the same idea in Dumoulin et al.,
"Adversarially Learned Inference", ICLR 2017. https://arxiv.org/abs/1606.00704

A generator makes pictures from codes z, an encoder codes from pictures x. The
critic is shown pairs and says which of the two made them. It is fooled for
good only where encoder and generator invert each other (theorem 2), so the
encoder must find what the generator needs to know of a picture.

Where we differ: the critic has no batch norm but a gradient penalty, R1 at its
authors' weight. E(x) is batch-normalised and brought to the prior's range by erf,
so that the critic cannot tell codes by their spread alone. All three take their
steps together. Pictures are mirrored but not cropped.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._adversarial import Eyes, equalised, held, steepness, told_apart
from ._decoder import Decoder, side_of_maps
from ._heads import spread

SEED = 4  # pixels, the side that the generator starts from


class BiGAN(Method):
    """Encoder and generator against a critic of pairs."""

    short_run_settings: ClassVar = {"width": 16, "hidden": 256}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        latent: int = 200,
        width: int = 64,
        hidden: int = 1024,
        penalty: float = 10.0,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(latent >= 1, "bigan.latent", latent, "at least 1")
        require(width >= 1, "bigan.width", width, "at least 1")
        require(hidden >= 1, "bigan.hidden", hidden, "at least 1")
        require(penalty >= 0, "bigan.penalty", penalty, "0 or more")
        require(0 <= flip <= 1, "bigan.flip", flip, "a probability")
        self.latent, self.penalty, self.flip = latent, penalty, flip
        S, maps = facts.image_size, 4 * width
        inputs = encoder.dim * side_of_maps(encoder, S) ** 2
        self.code = nn.Sequential(nn.Linear(inputs, latent, bias=False), nn.BatchNorm1d(latent, affine=False))
        grown = nn.Sequential(nn.Linear(latent, maps * SEED**2, bias=False), nn.Unflatten(1, (maps, SEED, SEED)))
        self.generator = equalised(grown.extend([Decoder(maps, side=SEED, size=S, width=maps), nn.Tanh()]))
        self.eyes = equalised(Eyes(S, width=width))
        self.judge = equalised(Judge(self.eyes.dim, latent, hidden))

    def loss(self, batch: Batch) -> Tensor:
        """The critic's loss on pairs that it cannot change, and the encoder's and generator's with labels inverted."""
        images = augment.floats(augment.flip_some(batch.images, self.flip))
        z = self.drawn(images)
        Ex, Gz = self.encoded(images), self.generator(z).float()
        x, code = 2 * images - 1, Ex.detach()
        seen = self.eyes(x)
        yes, no = self.judge(seen, code), self.of_pair(Gz.detach(), z)
        critic = told_apart(yes, no)
        fooling = told_apart(held(self.judge, held(self.eyes, Gz), z), held(self.judge, seen.detach(), Ex))
        self.logged |= {"critic": critic.detach(), "fooling": fooling.detach()}
        self.logged["accuracy"] = ((yes > 0).float().mean() + (no < 0).float().mean()) / 2
        self.logged["spread"] = spread(Ex)
        return critic + fooling + self.penalty * steepness(self.of_pair, yes, x, code)

    def of_pair(self, x: Tensor, z: Tensor) -> Tensor:
        """The critic's logits (N,) of pictures in [-1, 1] and codes."""
        return self.judge(self.eyes(x), z)

    def drawn(self, images: Tensor) -> Tensor:
        """Codes from the prior, uniform in [-1, 1], one for each image: (N, latent)."""
        return 2 * torch.rand(len(images), self.latent, device=images.device) - 1

    def encoded(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> E(x), codes (N, latent), each element spread as the prior is."""
        normal = self.code(self.encoder.deepest(images).flatten(1)).float()
        return torch.erf(normal / math.sqrt(2))

    def panels(self, batch: Batch) -> list[Panel]:
        """The pictures, what the generator makes of their codes, and what it makes of codes drawn at random."""
        own, drawn = (
            self.generator(z).float() / 2 + 0.5 for z in (self.encoded(batch.images), self.drawn(batch.images))
        )
        return [
            Panel(title="image x", images=batch.images),
            Panel(title="reconstruction G(E(x))", images=own),
            Panel(title="sample G(z)", images=drawn),
        ]


class Judge(nn.Module):
    """What the eyes see of an image (N, features), and a code (N, latent) -> a logit (N,): are x and E(x) a pair?"""

    def __init__(self, features: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.of_code = nn.Sequential(nn.Linear(latent, hidden), nn.LeakyReLU(0.2))
        self.of_pair = nn.Sequential(nn.Linear(features + hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Logits of the pairs."""
        return self.of_pair(torch.cat([features, self.of_code(codes)], dim=1)).flatten()
