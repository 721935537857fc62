"""Depth from colour: say how far, how high and how steep the things of a picture are.

Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning by
Cross-Channel Prediction", CVPR 2017, section 4.2. https://arxiv.org/abs/1611.09842
The view predicted, HHA, is that of Gupta, Girshick, Arbelaez and Malik, "Learning
Rich Features from RGB-D Images for Object Detection and Segmentation", ECCV 2014.
https://arxiv.org/abs/1407.5736

A sensor of distances and one of colours see the same things, so what one says of
the other is learned without labels. HHA is horizontal disparity, height above the
ground and angle between surface and gravity; ``target="depth"`` predicts metres.

Where we differ: only colour -> depth, the half of the paper's pair that sees
pictures; gravity points down the picture and the ground is its lowest point; a
surface's direction is that of neighbouring pixels instead of a fitted plane's;
the camera is a pinhole of ``field_of_view`` degrees, by default the embedded
data's (what passes it moves by its own step over its distance, in half pictures).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._quarter import QuarterMaps, enlarged, quartered

NEAR = 1.0  # metres, nearer than which disparity rises no further (as in the HHA authors' code)


class Depth(Method):
    """Regresses HHA or depth, each channel from 0 to 1, at a quarter of the resolution."""

    needs = frozenset({"depth"})

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        target: Literal["hha", "depth"] = "hha",
        field_of_view: float = 90.0,
        far: float = 10.0,
        crop: float = 0.47,
        flip: float = 0.5,
    ) -> None:
        super().__init__(encoder, facts)
        require(target in ("hha", "depth"), "depth.target", target, "hha or depth")
        require(0 < field_of_view < 180, "depth.field_of_view", field_of_view, "degrees between 0 and 180")
        require(NEAR < far < math.inf, "depth.far", far, "metres, above 1")
        require(0 < crop <= 1, "depth.crop", crop, "a share of the area, above 0 to 1")
        require(0 <= flip <= 1, "depth.flip", flip, "a probability")
        self.target, self.far, self.crop, self.flip = target, far, crop, flip
        self.slope = math.tan(math.radians(field_of_view) / 2)
        self.head = QuarterMaps(encoder.dim, 3 if target == "hha" else 1)

    def loss(self, batch: Batch) -> Tensor:
        """Squared error of the maps, cropped and mirrored with their picture."""
        both = torch.cat([augment.floats(batch.images), self.maps(batch)], dim=1)
        views = augment.resized_crops(both, scale=(self.crop, 1.0), flip=self.flip)
        truth = quartered(views[:, 3:])
        error = F.mse_loss(self.answers(views[:, :3]), truth)
        blind = truth.var(0, correction=0).mean()  # the error of the best answer that does not look at the picture
        self.logged["unexplained"] = error.detach() / blind
        return error

    def maps(self, batch: Batch) -> Tensor:
        """What is asked (N, 3 or 1, S, S), each channel from 0 to 1."""
        assert batch.depth is not None
        if self.target == "hha":
            return hha(batch.depth, self.slope, self.far)
        return (batch.depth / self.far).clamp(0, 1).unsqueeze(1)

    def answers(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> predicted maps (N, 3 or 1, S / 4, S / 4)."""
        return self.head(self.encoder.deepest(images), images.shape[-1]).float()

    def panels(self, batch: Batch) -> list[Panel]:
        """The picture, the maps asked as red, green and blue, and the maps predicted."""
        truth = self.maps(batch)
        answers = enlarged(self.answers(batch.images), truth.shape[-1])
        return [
            Panel(title="image", images=batch.images),
            Panel(title=f"{self.target} asked", images=truth.expand(-1, 3, -1, -1)),
            Panel(title=f"{self.target} predicted", images=answers.clamp(0, 1).expand(-1, 3, -1, -1)),
        ]


@augment.in_full_precision
def hha(depth: Tensor, slope: float, far: float) -> Tensor:
    """Metres (N, S, S) -> disparity, height above the lowest point, angle with gravity (N, 3, S, S), from 0 to 1.

    ``slope`` is that of the ray through the border's middle; heights are shares of the view's at ``far``
    metres, angles of half a turn: a floor has 0, a wall a half.
    """
    ray = slope * ((torch.arange(depth.shape[-1], device=depth.device) + 0.5) * 2 / depth.shape[-1] - 1)
    points = torch.stack([depth * ray, -depth * ray.unsqueeze(1), depth])  # right, up, away (3, N, S, S)
    up = points[1]
    height = (up - up.amin((1, 2), keepdim=True)) / (2 * slope * far)
    down, right = torch.gradient(points, dim=(2, 3))
    normal = torch.cross(down, right, dim=0)
    upright = normal[1] * -(normal * points).sum(0).sign()  # of the normal that points towards the camera
    angle = (upright / normal.square().sum(0).sqrt().clamp_min(1e-12)).clamp(-1, 1).acos() / math.pi
    return torch.stack([NEAR / depth.clamp_min(NEAR), height.clamp(0, 1), angle], dim=1)
