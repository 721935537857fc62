"""Context encoder: paint what is missing from a picture.

Pathak, Krähenbühl, Donahue, Darrell and Efros, "Context Encoders: Feature
Learning by Inpainting", CVPR 2016. https://arxiv.org/abs/1604.07379

To paint a hole one must know what the picture shows. The deepest maps pass a
channel-wise fully connected layer, which carries context from every place to
every other, and a decoder paints. Squared error alone paints the blurred
average; a critic that tells painted from real asks for one sharp answer.
The painting overlaps the visible border, where errors count ten times.

Where we differ: painter and critic step together and at the same rate; the
critic has a gradient penalty, no batch norm. Pictures are mirrored, not
cropped. ``random`` is four blocks of a quarter of the side, and its critic
sees the picture with the painting in it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._adversarial import Eyes, equalised, held, steepness, told_apart
from ._decoder import Across, Decoder, psnr, side_of_maps

BLOCKS = 4
BORDER_WEIGHT = 10.0
WEIGHTS = {"l2": (1.0, 0.0), "adversarial": (0.0, 1.0), "joint": (0.999, 0.001)}  # of reconstruction, of the critic


class ContextEncoder(Method):
    """Encodes a picture with a hole, decodes what was there."""

    short_run_settings: ClassVar = {"width": 16}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        region: Literal["central", "random"] = "central",
        objective: Literal["l2", "adversarial", "joint"] = "joint",
        width: int = 64,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(region in ("central", "random"), "context_encoder.region", region, "central or random")
        require(objective in WEIGHTS, "context_encoder.objective", objective, "l2, adversarial or joint")
        require(width >= 1, "context_encoder.width", width, "at least 1")
        require(0 <= flip <= 1, "context_encoder.flip", flip, "a probability")
        self.region, self.flip = region, flip
        self.of_l2, self.of_critic = WEIGHTS[objective]
        S = facts.image_size
        self.border = max(1, round(7 / 227 * S))  # pixels; section 3.3
        painted = S // 2 if region == "central" else S
        self.box = slice((S - painted) // 2, (S - painted) // 2 + painted)
        side = side_of_maps(encoder, S)
        self.across, self.decoder = Across(encoder.dim, side), Decoder(encoder.dim, side=side, size=painted)
        if self.of_critic:
            eyes = Eyes(painted, width=width)
            self.critic = equalised(nn.Sequential(eyes, nn.Linear(eyes.dim, 1), nn.Flatten(0)))

    def loss(self, batch: Batch) -> Tensor:
        """Weighted squared error of the painting, how far it fails to fool the critic, and the critic's own loss."""
        images = augment.floats(augment.flip_some(batch.images, self.flip))
        holes = self.holes(images)
        painted, real, missing = self.painted(images, holes), self.boxed(2 * images - 1), self.boxed(holes).float()
        near = F.max_pool2d(missing, 2 * self.border + 1, 1, self.border)
        errors = (painted - real).square()
        self.logged["psnr"] = psnr((missing * errors.detach()).sum() / (4 * 3 * missing.sum()))
        l2 = ((missing + BORDER_WEIGHT * (near - missing)) * errors).sum() / (3 * near.sum())
        if not self.of_critic:
            return l2
        shown = torch.where(near > 0, painted, real)
        yes, no = self.critic(real), self.critic(shown.detach())
        critic, fooling = told_apart(yes, no), F.softplus(-held(self.critic, shown).float()).mean()
        self.logged |= {"critic": critic.detach(), "l2": l2.detach()}
        return self.of_l2 * l2 + self.of_critic * fooling + critic + steepness(self.critic, yes, real)

    def holes(self, images: Tensor) -> Tensor:
        """Which pixels are missing: bool (N, 1, S, S)."""
        N, _, S, _ = images.shape
        steps = torch.arange(S, device=images.device)
        if self.region == "central":
            inside = (steps >= self.box.start + self.border) & (steps < self.box.stop - self.border)
            return (inside[:, None] & inside).expand(N, 1, S, S)
        side = S // 4
        corners = torch.randint(S - side + 1, (2, N, BLOCKS, 1), device=images.device)
        rows, columns = (steps >= corners) & (steps < corners + side)  # (N, BLOCKS, S) each
        return (rows[..., :, None] & columns[..., None, :]).any(1, keepdim=True)

    def boxed(self, images: Tensor) -> Tensor:
        """The part of images (N, C, S, S) that the decoder paints."""
        return images[..., self.box, self.box]

    def painted(self, images: Tensor, holes: Tensor) -> Tensor:
        """Images in [0, 1] without what is in the holes -> what the decoder paints of the box, in [-1, 1]."""
        context = torch.where(holes, self.encoder.mean, images)
        return self.decoder(self.across(self.encoder.deepest(context))).float().tanh()

    def panels(self, batch: Batch) -> list[Panel]:
        """The picture, what the encoder sees of it, the painting in its hole."""
        images = augment.floats(batch.images)
        holes = self.holes(images)
        whole = images.clone()
        whole[..., self.box, self.box] = self.painted(images, holes) / 2 + 0.5
        filled = torch.where(holes, whole, images)
        decibels = psnr((filled - images).square().sum((1, 2, 3)) / (3 * holes.sum((1, 2, 3)))).tolist()
        return [
            Panel(title="image", images=batch.images),
            Panel(title="with a hole", images=torch.where(holes, self.encoder.mean, images)),
            Panel(title="painted", images=filled, captions=tuple(f"{value:.1f} dB" for value in decibels)),
        ]
