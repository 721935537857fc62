"""The augmented views of an image that joint-embedding methods compare, and the panels that show a pair of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import Panel, augment

from ._contrast import nearest_panel

BLUR_FROM = 64  # pixels: smaller images are not blurred, as on CIFAR (Chen et al. 2020, appendix B.9)
SMALL_CROP_SIDE = 3 / 7  # of the image's side: 96 pixels if large crops have 224 (Caron et al. 2020, section 4.1)
SMALL_CROP_MIN_AREA = 0.05  # the smallest share of the image's area that a small crop shows


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How views are made; by default as SimCLR's for CIFAR (Chen et al. 2020, appendices A and B.9, strength 0.5)."""

    crop: float = 0.08  # the smallest share of the area that a crop shows
    crop_max: float = 1.0  # the largest
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1  # of a full turn
    jitter: float = 0.8  # the probability of changing colours; the next three are probabilities too
    grey: float = 0.2
    blur: float = 0.5
    solarise: float = 0.0


SIMCLR = Augmentation()
MOCO = Augmentation(crop=0.2)  # MoCo v2, and SimSiam after it
BYOL = (  # of first and second views: Grill et al. 2020, table 6; Barlow Twins and MoCo v3 after it
    Augmentation(saturation=0.2, blur=1.0),
    Augmentation(saturation=0.2, blur=0.1, solarise=0.2),
)
SWAV = Augmentation(crop=0.14, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)  # the authors' code
VICREG = Augmentation(saturation=0.2, solarise=0.1)  # Bardes et al. 2022, appendix C


def weaker_jitter(augmentation: Augmentation, strength: float) -> Augmentation:
    """The augmentation with its changes of colour scaled by ``strength``, from 0 to 1."""
    scaled = {name: strength * getattr(augmentation, name) for name in ("brightness", "contrast", "saturation", "hue")}
    return replace(augmentation, **scaled)


def random_view(images: Tensor, augmentation: Augmentation = SIMCLR, size: int | None = None) -> Tensor:
    """One view of each image: crop, mirror, colour jitter, grey, blur, solarisation; floats (N, 3, size, size)."""
    views = augment.colour_jitter(
        augment.random_resized_crops(images, scale=(augmentation.crop, augmentation.crop_max), size=size),
        brightness=augmentation.brightness,
        contrast=augmentation.contrast,
        saturation=augmentation.saturation,
        hue=augmentation.hue,
        jitter=augmentation.jitter,
        grey=augmentation.grey,
    )
    if augmentation.blur and images.shape[-1] >= BLUR_FROM:
        views = augment.gaussian_blur(views, probability=augmentation.blur)
    return augment.solarise(views, probability=augmentation.solarise) if augmentation.solarise else views


def two_views(images: Tensor, first: Augmentation = SIMCLR, second: Augmentation | None = None) -> Tensor:
    """Images (N, 3, S, S) -> (2 N, 3, S, S): a view of each image, then another; ``second`` defaults to ``first``."""
    if second is None or second == first:
        return random_view(augment.repeat_images(images, 2), first)
    return torch.cat([random_view(images, first), random_view(images, second)])


def small_crop_side(image_size: int) -> int:
    """The side of a small crop, in pixels."""
    return round(SMALL_CROP_SIDE * image_size)


def multi_crop_cost(image_size: int, small: int) -> tuple[int, float]:
    """The side in pixels of the smallest view, and the cost per image of two large crops and ``small`` small ones.

    The cost is in views of full size: a small crop counts by its area.
    """
    side = small_crop_side(image_size) if small else image_size
    return side, 2 + small * (side / image_size) ** 2


def small_crops(images: Tensor, augmentation: Augmentation, count: int) -> Tensor:
    """Images (N, 3, S, S) -> (count N, 3, s, s): a small crop of each image, then a second of each, and so on.

    A small crop shows at most the share of the area that a large one shows at least.
    """
    augmentation = replace(augmentation, crop=SMALL_CROP_MIN_AREA, crop_max=augmentation.crop)
    return random_view(augment.repeat_images(images, count), augmentation, small_crop_side(images.shape[-1]))


def pair_panels(views: Tensor, embeddings: Tensor) -> list[Panel]:
    """Views (2 N, 3, S, S), embeddings (2 N, dim) -> panels: both views, and the nearest view of another image.

    A caption gives the cosine of both views' embeddings, and the second view's rank when all second views are sorted
    by similarity to the first view.
    """
    first, second = views.chunk(2)
    one, other = F.normalize(embeddings.float(), dim=1).chunk(2)
    cosines = one @ other.T
    matching = cosines.diagonal()
    ranks = (cosines > matching.unsqueeze(1)).sum(1) + 1
    return [
        Panel(title="one view", images=first),
        Panel(
            title="another view of the same image",
            images=second,
            captions=tuple(
                f"cosine {cosine:.2f}\nrank {rank} of {len(second)} views"
                for cosine, rank in zip(matching.tolist(), ranks.tolist(), strict=True)
            ),
        ),
        nearest_panel(second, one, other, title="nearest view of another image"),
    ]
