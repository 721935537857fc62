"""Rendered images of ten classes of simple objects, at any size.

Nothing is downloaded and every machine renders the same scenes, so a first
benchmark runs anywhere. Up to three small things surround the object, and a bar
hides part of some objects. Objects have a visible top and everything around them has
none, so rotation prediction has to look at the objects. ``horizon`` adds sky above
ground: a shortcut that predicts the rotation without the object. ``noise`` adds noise to
every pixel, which makes everything harder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from ..storage.cache import cache_folder
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._arrays import Piece, load_or_make_array
from ._captions import caption_scenes
from ._render import render_scenes
from ._scenes import LABEL_NAMES, VALUE_NAMES, Scenes, animate_scenes, generate_scenes, poses, things_and_parts
from ._shapes import CLUTTER, KINDS

if TYPE_CHECKING:
    from torch import Tensor

RENDERER = "2"  # part of the identity: raise it whenever a pixel, a label or a caption changes
CLASSES = tuple(KINDS)
MASK_CLASSES = ("background", *CLASSES, *CLUTTER)  # a bar in front counts as background
FRAMES = 8  # per clip
STILLS_PER_CLIP = 10  # fewer clips than images, because a clip costs as much as FRAMES images

Groups = Iterator[tuple[NDArray[np.int64], Scenes]]  # scenes of one class, and their indices in the split


@dataclass(frozen=True, kw_only=True)
class Synthetic(DatasetSource):
    """Houses, trees, cars and other objects composed of plain shapes."""

    image_size: Annotated[int, Interval(ge=16, le=512)] = 32  # pixels
    train: Annotated[int, Ge(10)] = 10_000  # images; at least one per class
    test: Annotated[int, Ge(10)] = 2_000
    horizon: bool = False
    seed: Annotated[int, Ge(0)] = 0
    noise: Annotated[float, Interval(ge=0, le=255)] = 0.0  # standard deviation in grey levels, of images and clips

    later_settings: ClassVar = {"noise": 0.0}
    provides: ClassVar[frozenset[str]] = frozenset(
        {"labels", "clips", "clip_masks", "masks", "depth", "multi_labels", "values", "captions"}
    )

    def check(self) -> DatasetInfo:
        """Describes the images that the settings define; they can always be rendered."""
        # From the settings and not from pixels, whose last bit may differ between processors.
        settings = asdict(self) | {"noise": float(self.noise)}
        if not self.noise:
            del settings["noise"]  # images without noise are those of versions that had none
        identity = hashlib.sha256(json.dumps([RENDERER, settings]).encode()).hexdigest()
        return DatasetInfo(
            name="synthetic",
            identity=identity,
            image_size=self.image_size,
            classes=CLASSES,
            train_images=self.train,
            test_images=self.test,
            per_class=self.train // len(CLASSES),
        )

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits, rendered unless they are in the cache."""
        prefix = f"synthetic-{self.check().identity[:20]}"
        return Dataset(
            name="synthetic",
            classes=CLASSES,
            image_size=self.image_size,
            train=SplitRenderer(self, 0, self.train, f"{prefix}-train").split(needs),
            test=SplitRenderer(self, 1, self.test, f"{prefix}-test").split(needs),
            mask_classes=MASK_CLASSES,
            label_names=LABEL_NAMES,
            value_names=VALUE_NAMES,
        )


class SplitRenderer:
    """Renders one split into the cache.

    Labels, images and clips have random streams of their own, so none depends on what else is requested.
    """

    def __init__(self, settings: Synthetic, stream: int, images: int, prefix: str) -> None:
        self.settings = settings
        self.stream = stream
        self.images = images
        self.clips = max(1, images // STILLS_PER_CLIP)
        self.prefix = prefix  # of the cache files' names
        self.labels = self._random(0).permutation(np.arange(images) % len(CLASSES))

    def split(self, needs: frozenset[str]) -> Split:
        """The images and labels, and the further targets named in ``needs``."""
        import torch

        side = self.settings.image_size
        return Split(
            images=self._load("stills", "images", (self.images, 3, side, side), np.uint8),
            labels=torch.from_numpy(self.labels),
            clips=self._load_clips("images", 3) if "clips" in needs else None,
            clip_masks=self._load_clips("masks") if "clip_masks" in needs else None,
            masks=self._masks() if "masks" in needs else None,
            depth=self._load("stills", "depth", (self.images, side, side), np.float32) if "depth" in needs else None,
            multi_labels=self._per_image(things_and_parts).bool() if "multi_labels" in needs else None,
            values=self._per_image(poses).float() if "values" in needs else None,
            captions=self._captions() if "captions" in needs else None,
        )

    def _random(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.stream, purpose])

    def _stills(self) -> Groups:
        rng = self._random(1)
        for kind, name in enumerate(CLASSES):
            (where,) = np.nonzero(self.labels == kind)
            yield where, generate_scenes(name, len(where), rng, horizon=self.settings.horizon)

    def _films(self) -> Groups:
        rng = self._random(2)
        for kind, name in enumerate(CLASSES):
            where = np.arange(kind, self.clips, len(CLASSES))
            group = generate_scenes(name, len(where), rng, horizon=self.settings.horizon)
            yield (where[:, None] * FRAMES + np.arange(FRAMES)).ravel(), animate_scenes(group, FRAMES, rng)

    def _load(
        self, source: Literal["stills", "films"], target: str, shape: tuple[int, ...], dtype: type[np.generic]
    ) -> Tensor:
        """A ``target`` ("images", "masks" or "depth") of all stills or films, from the cache or rendered into it."""
        import torch

        def pieces() -> Iterator[Piece]:
            rng, deviation = self._random(3 if source == "stills" else 4), self.settings.noise
            for where, group in self._stills() if source == "stills" else self._films():
                for piece in render_scenes(group, self.settings.image_size):
                    values = getattr(piece, target)
                    is_noisy = deviation > 0 and target == "images"
                    yield where[piece.where], add_noise(values, deviation, rng) if is_noisy else values

        file = cache_folder() / f"{self.prefix}-{source}-{target}.npy"
        return torch.from_numpy(load_or_make_array(file, shape, np.dtype(dtype), pieces))

    def _load_clips(self, target: str, *channels: int) -> Tensor:
        """A target of all clips (M, T, ..., S, S)."""
        side = self.settings.image_size
        frames = self._load("films", target, (self.clips * FRAMES, *channels, side, side), np.uint8)
        return frames.view(self.clips, FRAMES, *channels, side, side)

    def _masks(self) -> Tensor:
        """Positions in MASK_CLASSES (N, S, S); the renderer numbers the object 1 and everything else alike."""
        import torch

        side = self.settings.image_size
        things = self._load("stills", "masks", (self.images, side, side), np.uint8)
        numbers = torch.arange(1, len(MASK_CLASSES) - len(CLASSES) + 1, dtype=torch.uint8).repeat(self.images, 1)
        numbers[:, 1:] += len(CLASSES) - 1
        table = torch.cat([torch.zeros(self.images, 1, dtype=torch.uint8), numbers], 1)
        table[:, 1] = torch.from_numpy(self.labels) + 1
        return table.gather(1, things.flatten(1).long()).view_as(things)

    def _per_image(self, describe: Callable[[Scenes], NDArray[np.generic]]) -> Tensor:
        """What a function says of each scene (n, K), for all images (N, K)."""
        import torch

        found: list[NDArray[np.generic]] = []
        places: list[NDArray[np.int64]] = []
        for where, group in self._stills():
            places.append(where)
            found.append(describe(group))
        return torch.from_numpy(np.concatenate(found)[np.argsort(np.concatenate(places))])

    def _captions(self) -> tuple[str, ...]:
        captions: dict[int, str] = {}
        for where, group in self._stills():
            captions.update(zip(where.tolist(), caption_scenes(group), strict=True))
        return tuple(captions[i] for i in range(self.images))


def add_noise(pixels: NDArray[np.uint8], deviation: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The pixels with normally distributed noise of this standard deviation, rounded and clipped to 0 to 255."""
    noisy = pixels + deviation * rng.standard_normal(pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
