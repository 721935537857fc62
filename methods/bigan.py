"""Bidirectional GAN (BiGAN): invert a generator, so that no critic can tell (x, E(x)) from (G(z), z).

Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning", ICLR 2017.
https://arxiv.org/abs/1605.09782; the same idea in Dumoulin et al.,
"Adversarially Learned Inference", ICLR 2017. https://arxiv.org/abs/1606.00704

A generator makes pictures from codes z, an encoder codes from pictures x. The
critic is shown pairs and says which of the two made them. It is fooled for
good only where encoder and generator invert each other (theorem 2), so the
encoder must find what the generator needs to know of a picture.

Where we differ: the critic is normalised per image, not per batch. All three
take their steps together and at the benchmark's rate. Pictures are mirrored
but not cropped. ``width`` also scales the generator.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.augment import flip_some, floats
from bench.encoders import Encoder
from bench.errors import require
from bench.method import Batch, Method, Panel, TrainFacts
from methods._adversarial import Eyes, equalised, held, steady, told_apart
from methods._decoder import Decoder, deepest, side_of_maps

SEED = 4  # pixels, the side that the generator starts from


class BiGAN(Method):
    """Encoder and generator against a critic of pairs."""

    short: ClassVar = {"width": 32}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainFacts,
        *,
        latent: int = 200,
        width: int = 64,
        hidden: int = 512,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(latent >= 1, "bigan.latent", latent, "at least 1")
        require(width >= 1, "bigan.width", width, "at least 1")
        require(hidden >= 1, "bigan.hidden", hidden, "at least 1")
        require(0 <= flip <= 1, "bigan.flip", flip, "a probability")
        self.latent, self.flip = latent, flip
        S, maps = facts.image_size, 4 * width
        inputs = encoder.dim * side_of_maps(encoder, S) ** 2
        self.code = nn.Sequential(nn.Linear(inputs, latent, bias=False), nn.BatchNorm1d(latent, affine=False))
        self.generator = equalised(
            nn.Sequential(
                nn.Linear(latent, maps * SEED**2, bias=False),
                nn.Unflatten(1, (maps, SEED, SEED)),
                Decoder(maps, side=SEED, size=S, width=maps),
                nn.Sigmoid(),
            )
        )
        self.eyes = Eyes(S, width=width)
        self.judge = Judge(self.eyes.dim, latent, hidden)

    def loss(self, batch: Batch) -> Tensor:
        """The critic's loss on pairs that it cannot change, and the encoder's and generator's with labels inverted."""
        x = floats(flip_some(batch.images, self.flip))
        N = len(x)
        z = 2 * torch.rand(N, self.latent, device=x.device) - 1
        Ex, Gz = self.encoded(x), self.generator(z).float()
        seen = self.eyes(torch.cat([x, Gz.detach()]))
        yes, no = self.judge(seen, torch.cat([Ex.detach(), z])).chunk(2)
        critic = told_apart(yes, no)
        again = torch.cat([seen[:N].detach(), held(self.eyes, Gz)])
        theirs, ours = held(self.judge, again, torch.cat([Ex, z])).chunk(2)
        fooling = told_apart(ours, theirs)
        self.watched |= {"critic": critic.detach(), "fooling": fooling.detach()}
        self.watched["accuracy"] = ((yes > 0).float().mean() + (no < 0).float().mean()) / 2
        self.watched["spread"] = Ex.detach().std(0).mean()  # that of z is 1 / sqrt(3)
        return critic + fooling

    def encoded(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> E(x), codes (N, latent)."""
        return torch.erf(self.code(deepest(self.encoder, images).flatten(1)).float() / 2**0.5)

    def panels(self, batch: Batch) -> list[Panel]:
        """The pictures, what the generator makes of their codes, and what it makes of codes drawn at random."""
        z = 2 * torch.rand(len(batch.images), self.latent, device=batch.images.device) - 1
        return [
            Panel(title="image x", images=batch.images),
            Panel(title="reconstruction G(E(x))", images=self.generator(self.encoded(batch.images)).float()),
            Panel(title="sample G(z)", images=self.generator(z).float()),
        ]


class Judge(nn.Module):
    """What the eyes see of an image (N, features), and its code (N, latent) -> a logit (N,): made by the encoder?"""

    def __init__(self, features: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.of_code = nn.Sequential(steady(nn.Linear(latent, hidden, bias=False)), nn.LeakyReLU(0.2))
        self.of_pair = nn.Sequential(
            steady(nn.Linear(features + hidden, hidden, bias=False)),
            nn.LeakyReLU(0.2),
            steady(nn.Linear(hidden, 1, bias=False)),
        )

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Logits of the pairs."""
        return self.of_pair(torch.cat([features, self.of_code(codes)], dim=1)).flatten()
