"""Pictures of our own: ten kinds of simple things, rendered on the spot at any size.

Nothing is downloaded and every machine renders the same scenes, so a first
benchmark runs anywhere. Around an object lie up to three other things, and a bar
hides part of some. The objects have an up and everything around them has none,
so rotation prediction has to look at the objects; ``horizon`` plants sky over
ground, the shortcut by which it can avoid that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import require
from ..storage.cache import cache_folder
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._arrays import Array, kept
from ._captions import described
from ._render import rendered
from ._scenes import Scenes, filmed, scenes
from ._shapes import KINDS

if TYPE_CHECKING:
    from torch import Tensor

RENDERER = "2"  # raise it whenever a pixel, a label or a caption changes
CLASSES = tuple(KINDS)
FRAMES = 8
STILLS_PER_CLIP = 10  # a clip costs as much as FRAMES stills

Groups = Iterator[tuple[NDArray[np.int64], Scenes]]  # scenes of one kind, and which items of the split they are


@dataclass(frozen=True, kw_only=True)
class Synthetic(DatasetSource):
    """Houses, trees, cars and the like, put together from plain shapes."""

    image_size: int = 32  # pixels
    train: int = 10_000
    test: int = 2_000
    horizon: bool = False
    seed: int = 0

    provides: ClassVar[frozenset[str]] = frozenset({"labels", "clips", "masks", "depth", "captions"})

    def check(self) -> DatasetInfo:
        """Facts of the settings alone: what they name can always be rendered."""
        require(16 <= self.image_size <= 512, "image_size", self.image_size, "from 16 to 512")
        require(self.train >= 10, "train", self.train, "at least 10, one image of each class")
        require(self.test >= 10, "test", self.test, "at least 10, one image of each class")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        # Of the settings and not of pixels, whose last bit may differ between processors.
        identity = hashlib.sha256(json.dumps([RENDERER, asdict(self)]).encode()).hexdigest()
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
        """Both splits, rendered unless the cache has them."""
        prefix = f"synthetic-{self.check().identity[:20]}"
        return Dataset(
            name="synthetic",
            classes=CLASSES,
            image_size=self.image_size,
            train=self._split(0, self.train, needs, f"{prefix}-train"),
            test=self._split(1, self.test, needs, f"{prefix}-test"),
        )

    def _split(self, stream: int, n: int, needs: frozenset[str], prefix: str) -> Split:
        import torch

        side, clips = self.image_size, max(1, n // STILLS_PER_CLIP)
        # Each has its own stream of random numbers, so none depends on what else is asked for.
        labels = np.random.default_rng([self.seed, stream, 0]).permutation(np.arange(n) % len(CLASSES))

        def stills() -> Groups:
            rng = np.random.default_rng([self.seed, stream, 1])
            for kind, name in enumerate(CLASSES):
                (where,) = np.nonzero(labels == kind)
                yield where, scenes(name, len(where), rng, horizon=self.horizon)

        def films() -> Groups:
            rng = np.random.default_rng([self.seed, stream, 2])
            for kind, name in enumerate(CLASSES):
                where = np.arange(kind, clips, len(CLASSES))
                group = scenes(name, len(where), rng, horizon=self.horizon)
                yield (where[:, None] * FRAMES + np.arange(FRAMES)).ravel(), filmed(group, FRAMES, rng)

        def tensor(groups: Callable[[], Groups], what: str, shape: tuple[int, ...], kind: type) -> Tensor:
            def fill(out: Array) -> None:
                for where, group in groups():
                    for piece in rendered(group, side):
                        out[where[piece.where]] = getattr(piece, what)

            file = cache_folder() / f"{prefix}-{groups.__name__}-{what}.npy"
            return torch.from_numpy(kept(file, shape, np.dtype(kind), fill))

        def film(what: str, *channels: int) -> Tensor:
            frames = tensor(films, what, (clips * FRAMES, *channels, side, side), np.uint8)
            return frames.unflatten(0, (clips, FRAMES))

        captions: dict[int, str] = {}
        if "captions" in needs:
            for where, group in stills():
                captions.update(zip(where.tolist(), described(group), strict=True))
        return Split(
            images=tensor(stills, "images", (n, 3, side, side), np.uint8),
            labels=torch.from_numpy(labels),
            clips=film("images", 3) if "clips" in needs else None,
            masks=film("masks") if "masks" in needs else None,
            depth=tensor(stills, "depth", (n, side, side), np.float32) if "depth" in needs else None,
            captions=tuple(captions[i] for i in range(n)) if captions else None,
        )
