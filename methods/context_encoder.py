"""Context encoder: fill in the missing part of an image.

Pathak, Krähenbühl, Donahue, Darrell and Efros, "Context Encoders: Feature
Learning by Inpainting", CVPR 2016. https://arxiv.org/abs/1604.07379

To fill a hole the network must understand what the image shows. The deepest feature
maps pass a channel-wise fully connected layer, which carries information between all
places, and a decoder reconstructs the hole. Squared error alone yields a blurred
average; an adversarial critic asks for one sharp solution. The reconstruction overlaps
the visible border, where errors count ten times as much.

Where we differ: all networks are updated in the same step, at the same learning rate; the critic has a gradient
penalty instead of batch norm. Images are mirrored but not cropped. ``region="random"`` cuts four blocks of a quarter
of the side, and its critic sees the whole image with the holes filled.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, Share, TrainInfo, augment

from ._adversarial import CriticFeatures, call_frozen, discriminator_loss, equalise_learning_rates, gradient_penalty
from ._decoder import ChannelwiseLinear, Decoder, deepest_map_side, psnr

BLOCKS = 4
BORDER_WEIGHT = 10.0
WEIGHTS = {"l2": (1.0, 0.0), "adversarial": (0.0, 1.0), "joint": (0.999, 0.001)}  # of l2, of the adversarial loss


class ContextEncoder(Method):
    """Encodes images with a hole and decodes the hole."""

    year = 2016
    kind = "generative"
    short_run_settings: ClassVar = {"width": 16}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        region: Literal["central", "random"] = "central",
        objective: Literal["l2", "adversarial", "joint"] = "joint",
        width: Count = 64,
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.region, self.flip = region, flip
        self.l2_weight, self.adversarial_weight = WEIGHTS[objective]
        S = train_info.image_size
        self.border = max(1, round(7 / 227 * S))  # pixels; section 3.3
        box = S // 2 if region == "central" else S
        self.box = slice((S - box) // 2, (S - box) // 2 + box)
        side = deepest_map_side(encoder, S)
        self.channelwise = ChannelwiseLinear(encoder.dim, side)
        self.decoder = Decoder(encoder.dim, side=side, size=box)
        if self.adversarial_weight:
            features = CriticFeatures(box, width=width)
            self.critic = equalise_learning_rates(nn.Sequential(features, nn.Linear(features.dim, 1), nn.Flatten(0)))

    def loss(self, batch: Batch) -> Tensor:
        """Weighted sum of squared error and adversarial loss (section 3.2), plus the critic's own loss."""
        images = augment.to_float(augment.random_flip(batch.images, self.flip))
        holes = self.draw_holes(images)
        filled, real, missing = self.inpaint(images, holes), self.crop_box(2 * images - 1), self.crop_box(holes).float()
        near = F.max_pool2d(missing, 2 * self.border + 1, 1, self.border)
        errors = (filled - real).square()
        self.logged["psnr"] = psnr((missing * errors.detach()).sum() / (4 * 3 * missing.sum()))
        l2 = ((missing + BORDER_WEIGHT * (near - missing)) * errors).sum() / (3 * near.sum())
        if not self.adversarial_weight:
            return l2
        fake = torch.where(near > 0, filled, real)
        real_logits, fake_logits = self.critic(real), self.critic(fake.detach())
        critic = discriminator_loss(real_logits, fake_logits)
        adversarial = F.softplus(-call_frozen(self.critic, fake).float()).mean()
        self.logged |= {"critic": critic.detach(), "l2": l2.detach()}
        penalty = gradient_penalty(self.critic, real_logits, real)
        return self.l2_weight * l2 + self.adversarial_weight * adversarial + critic + penalty

    def draw_holes(self, images: Tensor) -> Tensor:
        """Which pixels are missing: bool (N, 1, S, S)."""
        N, _, S, _ = images.shape
        steps = torch.arange(S, device=images.device)
        if self.region == "central":
            inside = (steps >= self.box.start + self.border) & (steps < self.box.stop - self.border)
            return (inside[:, None] & inside).expand(N, 1, S, S)
        side = S // 4
        corners = torch.randint(S - side + 1, (2, N, BLOCKS, 1), device=images.device)
        rows, columns = (steps >= corners) & (steps < corners + side)  # (N, BLOCKS, S) each
        holes: Tensor = (rows[..., :, None] & columns[..., None, :]).any(1, keepdim=True)
        return holes

    def crop_box(self, images: Tensor) -> Tensor:
        """The part of images (N, C, S, S) that the decoder reconstructs."""
        return images[..., self.box, self.box]

    def inpaint(self, images: Tensor, holes: Tensor) -> Tensor:
        """Reconstructs the box in [-1, 1] from images in [0, 1] whose holes are filled with the mean colour."""
        context = torch.where(holes, self.encoder.mean, images)
        box: Tensor = self.decoder(self.channelwise(self.encoder.last_features(context))).float().tanh()
        return box

    def panels(self, batch: Batch) -> list[Panel]:
        """The image, the image with its hole, and the image with the hole filled."""
        images = augment.to_float(batch.images)
        holes = self.draw_holes(images)
        whole = images.clone()
        whole[..., self.box, self.box] = self.inpaint(images, holes) / 2 + 0.5
        filled = torch.where(holes, whole, images)
        decibels = psnr((filled - images).square().sum((1, 2, 3)) / (3 * holes.sum((1, 2, 3)))).tolist()
        return [
            Panel(title="image", images=batch.images),
            Panel(title="image with a hole", images=torch.where(holes, self.encoder.mean, images)),
            Panel(title="hole filled", images=filled, captions=tuple(f"{value:.1f} dB" for value in decibels)),
        ]
