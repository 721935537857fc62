"""Rotation prediction (RotNet): predict by how much an image was rotated.

Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by
Predicting Image Rotations", ICLR 2018. https://arxiv.org/abs/1803.07728

Photographs have an up side. To find it, the network must recognise what an image
shows; these features are the goal, and the classifier is discarded. All
rotations of an image are in the same batch (section 3.2).

Where we differ: the authors' CIFAR code also shifts by up to 4 pixels; we do
not. Angles that are not multiples of 90 degrees need interpolation. In that case
every class, 0 degrees too, is resampled with a small random rotation added, and
cropped to the largest square inside, so that neither blur nor black corners
reveal the angle.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, Share, TrainInfo, augment, require, without_autocast

WOBBLE = math.radians(2)  # largest random rotation added to an interpolated one


class RotNet(Method):
    """Classifies each image's rotation."""

    year = 2018
    kind = "pretext task"

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        angles: Annotated[tuple[int, ...], MinLen(2)] = (0, 90, 180, 270),  # degrees, counter-clockwise
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        different = len({angle % 360 for angle in angles}) == len(angles)
        require(different, "rotnet.angles", angles, "different rotations")
        self.angles, self.flip = angles, flip
        oblique = any(angle % 90 for angle in angles)
        self.view_size = inner_square_side(train_info.image_size) if oblique else train_info.image_size
        self.views_per_image = len(angles) * (self.view_size / train_info.image_size) ** 2
        self.head = nn.Linear(encoder.dim, len(angles))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the rotation, averaged over all rotations of all images."""
        views, turns = every_rotation(augment.random_flip(batch.images, self.flip), self.angles)
        logits = self.head(self.encoder(views))
        self.logged["accuracy"] = (logits.argmax(1) == turns).float().mean()
        return F.cross_entropy(logits, turns)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, the image rotated by one of the angles, and rotated back by the predicted angle."""
        N, K = len(batch.images), len(self.angles)
        views, _ = every_rotation(batch.images, self.angles)
        asked = torch.randperm(N, device=views.device) % K
        views = views.view(K, N, *views.shape[1:])[asked, torch.arange(N, device=views.device)]
        probabilities = self.head(self.encoder(views)).float().softmax(1)
        truths = [self.angles[turn] for turn in asked.tolist()]
        guesses = [self.angles[turn] for turn in probabilities.argmax(1).tolist()]
        restored, captions = [], []
        for image, truth, guess, row in zip(batch.images, truths, guesses, probabilities.tolist(), strict=True):
            restored.append(every_rotation(image.unsqueeze(0), (truth - guess, *self.angles))[0][:1])
            all_angles = ", ".join(f"{a}°:\N{NO-BREAK SPACE}{p:.0%}" for a, p in zip(self.angles, row, strict=True))
            captions.append(f"{'right' if truth == guess else 'wrong'}: {guess}°\n{all_angles}")
        return [
            Panel(title="image", images=batch.images),
            Panel(title="rotated: by how much?", images=views, captions=tuple(f"by {truth}°" for truth in truths)),
            Panel(title="rotated back by the prediction", images=torch.cat(restored), captions=tuple(captions)),
        ]


def every_rotation(images: Tensor, angles: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(N, C, S, S) and K angles in degrees -> views (K * N, C, s, s) and the number of each view's angle (K * N,).

    s is S if all angles are multiples of 90 degrees, else the side of the largest inner square.
    """
    turns = torch.arange(len(angles), device=images.device).repeat_interleave(len(images))
    if all(angle % 90 == 0 for angle in angles):
        return torch.cat([images.rot90(angle // 90, (2, 3)) for angle in angles]), turns
    return torch.cat([rotate(augment.to_float(images), angle) for angle in angles]), turns


def inner_square_side(side: int) -> int:
    """The side of the largest upright square inside a square of the given side, rotated by any angle."""
    return int(side / math.sqrt(2))


@without_autocast
def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotates each image counter-clockwise about its centre and crops the largest square inside at any angle."""
    N, C, S, _ = images.shape
    side = inner_square_side(S)
    angle = math.radians(degrees) + augment.uniform_per_image(images, -WOBBLE, WOBBLE).flatten()
    cosine, sine, zero = angle.cos() * side / S, angle.sin() * side / S, torch.zeros_like(angle)
    affine = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(N, 2, 3)
    grid = F.affine_grid(affine, [N, C, side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
