"""Depth from colour: predict how far away, how high and how steep the surfaces in an image are.

Zhang, Isola and Efros, "Split-Brain Autoencoders: Unsupervised Learning by
Cross-Channel Prediction", CVPR 2017, section 4.2. https://arxiv.org/abs/1611.09842
The predicted maps, HHA, are those of Gupta, Girshick, Arbelaez and Malik, "Learning
Rich Features from RGB-D Images for Object Detection and Segmentation", ECCV 2014.
https://arxiv.org/abs/1407.5736

A depth sensor and a colour camera see the same objects, so one can be predicted from the
other without labels. HHA stands for horizontal disparity, height above the ground, and
the angle between surface and gravity. ``target="depth"`` predicts the distance instead.

Where we differ: only colour -> depth, the half of the paper's pair whose encoder sees
images; gravity is assumed to point down the image, and the ground is its lowest point; a
surface's direction comes from neighbouring pixels instead of a fitted plane; the camera
is a pinhole of ``field_of_view`` degrees. The default fits the built-in data, where a camera
step of one metre shifts an object by 1 / distance times half the image's width.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Interval
from torch import Tensor

from sslbench import Batch, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment, without_autocast

from ._quarter import QuarterMaps, average_to_quarter, enlarge

NEAR = 1.0  # metres; disparity is constant below this distance, as in the HHA authors' code


class Depth(Method):
    """Regresses HHA or depth, scaled to [0, 1], at a quarter of the resolution."""

    year = 2017
    kind = "cross-modal"
    needs = frozenset({"depth"})

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        target: Literal["hha", "depth"] = "hha",
        field_of_view: Annotated[float, Interval(gt=0, lt=180)] = 90.0,  # degrees
        far: Annotated[float, Gt(1)] = 10.0,  # metres
        crop: PositiveShare = 0.47,
        flip: Share = 0.5,
    ) -> None:
        super().__init__(encoder, train_info)
        self.target, self.far, self.crop, self.flip = target, far, crop, flip
        self.slope = math.tan(math.radians(field_of_view) / 2)
        self.head = QuarterMaps(encoder.dim, 3 if target == "hha" else 1)

    def loss(self, batch: Batch) -> Tensor:
        """Squared error of the predicted maps; targets are cropped and mirrored together with their image."""
        both = torch.cat([augment.to_float(batch.images), self.target_maps(batch)], dim=1)
        views = augment.random_resized_crops(both, scale=(self.crop, 1.0), flip=self.flip)
        truth = average_to_quarter(views[:, 3:])
        error = F.mse_loss(self.predict(views[:, :3]), truth)
        baseline = truth.var(0, correction=0).mean()  # error of predicting the batch's mean map for every image
        self.logged["unexplained"] = error.detach() / baseline
        return error

    def target_maps(self, batch: Batch) -> Tensor:
        """The maps to predict (N, 3 or 1, S, S), each channel in [0, 1]."""
        assert batch.depth is not None
        if self.target == "hha":
            return hha_maps(batch.depth, self.slope, self.far)
        return (batch.depth / self.far).clamp(0, 1).unsqueeze(1)

    def predict(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) -> predicted maps (N, 3 or 1, S / 4, S / 4)."""
        maps: Tensor = self.head(self.encoder.last_features(images), images.shape[-1]).float()
        return maps

    def panels(self, batch: Batch) -> list[Panel]:
        """The image, the target maps as red, green and blue, and the predicted maps."""
        truth = self.target_maps(batch)
        predicted = enlarge(self.predict(batch.images), truth.shape[-1])
        return [
            Panel(title="image", images=batch.images),
            Panel(title=f"target {self.target}", images=truth.expand(-1, 3, -1, -1)),
            Panel(title=f"predicted {self.target}", images=predicted.clamp(0, 1).expand(-1, 3, -1, -1)),
        ]


@without_autocast
def hha_maps(depth: Tensor, slope: float, far: float) -> Tensor:
    """Metres (N, S, S) -> disparity, height above the lowest point, angle with gravity (N, 3, S, S), all in [0, 1].

    ``slope`` is the tangent of half the field of view. A height of 1 is the height of the view at ``far`` metres.
    An angle of 1 is 180 degrees: a floor has 0 and a wall 0.5.
    """
    ray = slope * ((torch.arange(depth.shape[-1], device=depth.device) + 0.5) * 2 / depth.shape[-1] - 1)
    points = torch.stack([depth * ray, -depth * ray.unsqueeze(1), depth])  # right, up, away (3, N, S, S)
    up = points[1]
    height = (up - up.amin((1, 2), keepdim=True)) / (2 * slope * far)
    down, right = torch.gradient(points, dim=(2, 3))
    normal = torch.cross(down, right, dim=0)
    upright = normal[1] * -(normal * points).sum(0).sign()  # the vertical part of the normal towards the camera
    angle = (upright / normal.square().sum(0).sqrt().clamp_min(1e-12)).clamp(-1, 1).acos() / math.pi
    return torch.stack([NEAR / depth.clamp_min(NEAR), height.clamp(0, 1), angle], dim=1)
