"""The views of an image that joint-embedding methods compare: how they are varied, and how a pair is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Panel, augment

from ._contrast import nearest_panel

BLUR_FROM = 64  # pixels: on smaller images blur is left out, as on CIFAR (Chen et al. 2020, appendix B.9)
SMALL = 3 / 7  # side of a small crop: 96 pixels where large ones have 224 (Caron et al. 2020, section 4.1)
LEAST = 0.05  # of the area is what a small crop shows at least


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a view is varied; by default as SimCLR's on CIFAR (Chen et al. 2020, appendices A and B.9, strength 0.5)."""

    crop: float = 0.08  # the least share of the area
    most: float = 1.0  # the largest
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # of a full turn
    jitter: float = 0.8  # probabilities, here and below
    grey: float = 0.2
    blur: float = 0.5
    solarise: float = 0.0


SIMCLR = Look()
MOCO = Look(crop=0.2)  # MoCo v2, and SimSiam after it
BYOL = (  # Grill et al. 2020, table 6; Barlow Twins and MoCo v3 after it
    Look(saturation=0.2, blur=1.0),
    Look(saturation=0.2, blur=0.1, solarise=0.2),
)
SWAV = Look(crop=0.14, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)  # and DeepCluster-v2: the authors' code
VICREG = Look(saturation=0.2, solarise=0.1)  # Bardes et al. 2022, appendix C


def paler(look: Look, strength: float) -> Look:
    """The look with a share of its colour jitter."""
    jitters = {name: strength * getattr(look, name) for name in ("brightness", "contrast", "saturation", "hue")}
    return replace(look, **jitters)


def view(images: Tensor, look: Look = SIMCLR, size: int | None = None) -> Tensor:
    """One view of each image: crop, mirror, colour jitter, grey, blur, solarisation; floats (N, 3, size, size)."""
    views = augment.recoloured(
        augment.resized_crops(images, scale=(look.crop, look.most), size=size),
        brightness=look.brightness,
        contrast=look.contrast,
        saturation=look.saturation,
        hue=look.hue,
        jitter=look.jitter,
        grey=look.grey,
    )
    if look.blur and images.shape[-1] >= BLUR_FROM:
        views = augment.blurred(views, probability=look.blur)
    return augment.solarised(views, probability=look.solarise) if look.solarise else views


def two_views(images: Tensor, first: Look = SIMCLR, second: Look | None = None) -> Tensor:
    """Images (N, 3, S, S) -> (2 N, 3, S, S): a view of each image, then another of each, in a second look if given."""
    if second is None or second == first:
        return view(torch.cat([images, images]), first)
    return torch.cat([view(images, first), view(images, second)])


def small_side(image_size: int) -> int:
    """Pixels of a small crop's side."""
    return round(SMALL * image_size)


def crops(image_size: int, small: int) -> tuple[int, float]:
    """Pixels of the smallest view's side and views an image costs: two large crops, and small ones by their area."""
    side = small_side(image_size) if small else image_size
    return side, 2 + small * (side / image_size) ** 2


def small_crops(images: Tensor, look: Look, count: int) -> Tensor:
    """Images (N, 3, S, S) -> (count N, 3, s, s): a small part of each, at most what a large crop shows, and again."""
    look = replace(look, crop=LEAST, most=look.crop)
    return view(images.repeat(count, 1, 1, 1), look, small_side(images.shape[-1]))


def pair_panels(views: Tensor, embeddings: Tensor) -> list[Panel]:
    """Views (2 N, 3, S, S), embeddings (2 N, dim) -> both views, and the nearest view of another image to the first.

    Captions: the cosine, and the second view's rank among all second views by likeness to the first.
    """
    first, second = views.chunk(2)
    one, other = F.normalize(embeddings.float(), dim=1).chunk(2)
    likeness = one @ other.T
    twins = likeness.diagonal()
    ranks = (likeness > twins.unsqueeze(1)).sum(1) + 1
    return [
        Panel(title="one view", images=first),
        Panel(
            title="another view of the same image",
            images=second,
            captions=tuple(
                f"cosine {cosine:.2f}\nrank {rank} of {len(second)} views"
                for cosine, rank in zip(twins.tolist(), ranks.tolist(), strict=True)
            ),
        ),
        nearest_panel(second, one, other, title="nearest view of another image"),
    ]
