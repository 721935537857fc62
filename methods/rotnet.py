"""Rotation prediction (RotNet): say by how much an image was turned.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by
Predicting Image Rotations", ICLR 2018. https://arxiv.org/abs/1803.07728

Photographs have an up. To find it the network must recognise what is in the
picture, and that knowledge is what we are after; the classifier is thrown
away. Every turn of an image is in the same batch (section 3.2).

Where we differ: the authors' CIFAR code also shifts by up to 4 pixels; we do
not. Angles that are no quarter turns need interpolation: then every class,
0 degrees too, is resampled alike, with a random wobble, and cut to the largest
square that no corner enters, so that neither blur nor black corners tell.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

WOBBLE = math.radians(2)


class RotNet(Method):
    """Classifies each image's rotation."""

    checkpoints: ClassVar = {
        "alexnet": {
            "url": (
                "https://github.com/gidariss/FeatureLearningRotNet/releases/download/v1/ImageNet_RotNet_AlexNet.tar.gz"
            ),
            "encoder": "alexnet",
            "linear": {"conv1": 0.188, "conv2": 0.317, "conv3": 0.387, "conv4": 0.382, "conv5": 0.365},
            "source": "https://arxiv.org/abs/1803.07728",
        },
        "cifar10_nin": {
            "url": (
                "https://github.com/gidariss/FeatureLearningRotNet/releases/download/v1/"
                "CIFAR10_RotNet_NIN4blocks.tar.gz"
            ),
            "encoder": "nin",
            "input": {"size": 32, "crop": 1.0, "mean": (0.4914, 0.4824, 0.4467), "std": (0.2471, 0.2435, 0.2616)},
            "source": "https://arxiv.org/abs/1803.07728",
        },
        "vissl_rn50": {
            "url": (
                "vissl:rotnet_rn50_in1k_ep105_rotnet_8gpu_resnet_17_07_20.46bada9f/"
                "model_final_checkpoint_phase125.torch"
            ),
            "linear": 0.482,
        },
        "vissl_alexnet": {
            "url": "vissl:rotnet_alexnet_model_net_epoch50.torch",
            "encoder": "alexnet",
        },
        "mmselfsup_rn50": {
            "url": (
                "mmselfsup:1.x/rotation_pred/rotation-pred_resnet50_8xb16-steplr-70e_in1k/"
                "rotation-pred_resnet50_8xb16-steplr-70e_in1k_20220825-a8bf5f69.pth"
            ),
            "linear": 0.47,
        },
    }

    def __init__(
        self, encoder: Encoder, facts: TrainInfo, *, angles: tuple[int, ...] = (0, 90, 180, 270), flip: float = 0.5
    ) -> None:
        super().__init__(encoder, facts)
        require(
            len({angle % 360 for angle in angles}) == len(angles) >= 2,
            "rotnet.angles",
            angles,
            "two or more different ones",
        )
        require(0 <= flip <= 1, "rotnet.flip", flip, "a probability")
        self.angles, self.flip = angles, flip
        oblique = any(angle % 90 for angle in angles)
        self.view_size = inner_side(facts.image_size) if oblique else facts.image_size
        self.views_per_image = len(angles) * (self.view_size / facts.image_size) ** 2
        self.head = nn.Linear(encoder.dim, len(angles))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the rotation, averaged over all rotations of all images."""
        views, turns = every_rotation(augment.flip_some(batch.images, self.flip), self.angles)
        logits = self.head(self.encoder(views))
        self.logged["accuracy"] = (logits.argmax(1) == turns).float().mean()
        return F.cross_entropy(logits, turns)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, turned by one of the angles, and turned back by the angle that is thought likeliest."""
        N, K = len(batch.images), len(self.angles)
        views, _ = every_rotation(batch.images, self.angles)
        asked = torch.randperm(N, device=views.device) % K
        views = views.unflatten(0, (K, N))[asked, torch.arange(N, device=views.device)]
        shares = self.head(self.encoder(views)).float().softmax(1)
        turns = [self.angles[turn] for turn in asked.tolist()]
        said = [self.angles[turn] for turn in shares.argmax(1).tolist()]
        back = [
            every_rotation(image.unsqueeze(0), (turn - answer, *self.angles))[0][:1]
            for image, turn, answer in zip(batch.images, turns, said, strict=True)
        ]
        told = [
            ", ".join(f"{a}°:\N{NO-BREAK SPACE}{p:.0%}" for a, p in zip(self.angles, row, strict=True))
            for row in shares.tolist()
        ]
        return [
            Panel(title="image", images=batch.images),
            Panel(title="turned: by how much?", images=views, captions=tuple(f"by {turn}°" for turn in turns)),
            Panel(
                title="turned back by what it says",
                images=torch.cat(back),
                captions=tuple(
                    f"{'right' if turn == answer else 'wrong'}: {answer}°\n{row}"
                    for turn, answer, row in zip(turns, said, told, strict=True)
                ),
            ),
        ]


def every_rotation(images: Tensor, angles: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(N, C, S, S) and K angles in degrees -> views (K * N, C, s, s) and which angle each one has (K * N,).

    s is S where every angle is a quarter turn, else the side of the largest inner square.
    """
    turns = torch.arange(len(angles), device=images.device).repeat_interleave(len(images))
    if all(angle % 90 == 0 for angle in angles):
        return torch.cat([images.rot90(angle // 90, (2, 3)) for angle in angles]), turns
    return torch.cat([rotated(augment.floats(images), angle) for angle in angles]), turns


def inner_side(side: int) -> int:
    """Side of the largest upright square inside a square of that side, turned by any angle."""
    return int(side / math.sqrt(2))


@augment.in_full_precision
def rotated(images: Tensor, degrees: float) -> Tensor:
    """Turns each image counter-clockwise about its centre and keeps the largest square safe at any angle."""
    N, C, S, _ = images.shape
    side = inner_side(S)
    angle = math.radians(degrees) + augment.uniform(images, -WOBBLE, WOBBLE).flatten()
    cosine, sine, zero = angle.cos() * side / S, angle.sin() * side / S, torch.zeros_like(angle)
    affine = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(N, 2, 3)
    grid = F.affine_grid(affine, [N, C, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
