"""Clips of your own: frames in DAVIS's layout, ``DIR/JPEGImages/<sequence>/00000.jpg …``.

DIR may be a .zip or .tar archive, which is unpacked once into the cache, one
folder may be wrapped around ``JPEGImages/``, and a folder named like a resolution
may lie in it, as in DAVIS 2017. Masks, where there are any, stand under the same
names in ``Annotations/``: object numbers as palette indices or greys, or white on
black. Frames are brought to the data's size by their shorter side and cut to
their central square.

Each sequence is cut in time: its first part is train, its last one test, and
``gap`` frames between them are in neither; one too short for that is train
alone. A clip is ``frames`` frames of one part, ``stride`` apart. As images,
frames are labelled with their sequence, so that methods that need no clips can
be pretrained here too; frames of one film are so alike that accuracies on these
labels say little.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UserError, require
from ..storage.hashing import fingerprint
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._archive import name_of
from ._frames import LAYOUT, Film, Part, frames_of, identity, listed, masks_of
from ._pictures import cores, unreadable
from ._splits import RESIDENT
from ._tree import located

if TYPE_CHECKING:
    from torch import Tensor

ADVICE = f"a directory, or a .zip or .tar of one, that holds {LAYOUT}"


@dataclass(frozen=True, kw_only=True)
class Clips(DatasetSource):
    """A directory's films, each a folder of frames."""

    data_dir: str | None = None
    image_size: int = 32  # pixels
    frames: int = 8  # in a clip
    stride: int = 2  # from one frame of a clip to its next, in frames of the film
    test: float = 0.2  # share of each sequence, at its end, that is test; at least as long as a clip
    gap: int = 8  # frames between train and test that are in neither
    name: str | None = None  # in records; by default the directory's
    skip_unreadable: bool = False  # leave broken frames out instead of refusing the whole set
    workers: int = cores()  # threads that decode

    provides: ClassVar[frozenset[str]] = frozenset({"labels", "clips", "masks"})

    def check(self) -> DatasetInfo:
        """Facts of the listing; UserError if the layout is not the expected one or a sequence is too short."""
        name = name_of(self.name, self.data_dir)
        train, test = self._parts
        return DatasetInfo(
            name=name,
            identity=fingerprint(
                [*(identity(part, self.image_size) for part in self._parts), self.frames, self.stride]
            ),
            image_size=self.image_size,
            classes=tuple(film.name for film in train.films),
            train_images=len(train.frames),
            test_images=len(test.frames),
        )

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits; UserError naming the frames that cannot be read, if they are not to be skipped."""
        known = self.check()
        train, test = (self._split(part, known, needs) for part in self._parts)
        return Dataset(name=known.name, classes=known.classes, image_size=known.image_size, train=train, test=test)

    @property
    def _span(self) -> int:
        """Frames of the film from a clip's first to its last."""
        return (self.frames - 1) * self.stride + 1

    @cached_property
    def _parts(self) -> tuple[Part, Part]:
        require(8 <= self.image_size <= 1024, "image_size", self.image_size, "from 8 to 1024 pixels")
        require(self.frames >= 2, "frames", self.frames, "at least 2")
        require(self.stride >= 1, "stride", self.stride, "at least 1")
        require(0 < self.test < 1, "test", self.test, "a share, above 0 and below 1")
        require(self.gap >= 0, "gap", self.gap, "0 or more frames")
        require(self.workers >= 1, "workers", self.workers, "at least 1")
        root, films = listed(located(self.data_dir, "clips", ADVICE))
        shortest, longest = (found(films, key=lambda film: len(film.frames)) for found in (min, max))
        advice = f"clips of {self.frames} frames, each {self.stride} after the last, take {self._span}. Lower --set"
        if len(shortest.frames) < self._span:
            raise UserError(
                f"{root}: sequence {shortest.name!r} has {len(shortest.frames)} frames, and {advice} "
                "clips.stride or clips.frames, or remove the sequence."
            )
        lengths = [self._tail(len(film.frames)) for film in films]
        if not any(lengths):
            raise UserError(
                f"{root}: no sequence has the {2 * self._span + self.gap} frames that make a train and a test part; "
                f"the longest, {longest.name!r}, has {len(longest.frames)}, and {advice} "
                f"clips.stride, clips.frames or clips.gap (now {self.gap})."
            )
        heads, tails = [], []
        for film, last in zip(films, lengths, strict=True):
            end = len(film.frames)
            heads.append(cut(film, 0, end - last - self.gap if last else end))
            tails.append(cut(film, end - last, end))
        return Part(split="train", root=root, films=tuple(heads)), Part(split="test", root=root, films=tuple(tails))

    def _tail(self, length: int) -> int:
        """Frames of a film of that length that are test; none where no clip of train would be left."""
        last = max(self._span, round(length * self.test))
        return last if length - last - self.gap >= self._span else 0

    def _split(self, part: Part, known: DatasetInfo, needs: frozenset[str]) -> Split:
        import torch

        images, labels, broken = frames_of(part, known.name, self.image_size, self.workers)
        if broken:
            paths = [str(frame.path.relative_to(part.root)) for frame in part.frames]
            error = unreadable(part.root, [(paths[place], why) for place, why in broken])
            if not self.skip_unreadable:
                raise error
            logging.getLogger(__name__).warning("%s Left out.", str(error).split(" Mend ")[0])
        if bare := [one.name for k, one in enumerate(part.films) if one.frames and (labels == k).sum() < self._span]:
            raise UserError(f"{part.root}: too few readable frames of {bare[0]!r} are left. Mend or remove it.")
        split = Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels))
        if not needs & {"clips", "masks"}:
            return split
        shown = self._shown(np.bincount(labels))
        split = replace(split, clips=torch.from_numpy(images)[shown])
        if "masks" in needs:
            masks = np.delete(masks_of(part, known.name, self.image_size), [place for place, _ in broken], 0)
            split = replace(split, masks=torch.from_numpy(masks)[shown])
        return split

    def _shown(self, lengths: np.ndarray) -> Tensor:
        """int64 (M, T): the frames of each clip; clips begin at every frame, or fewer where they would fill memory."""
        import torch

        clips = sum(max(0, length - self._span + 1) for length in lengths)
        apart = -(-int(clips) * self.frames * 3 * self.image_size**2 // RESIDENT)
        firsts = np.cumsum(lengths) - lengths
        starts = [
            np.arange(first, first + length - self._span + 1, max(1, apart))
            for first, length in zip(firsts, lengths, strict=True)
        ]
        return torch.from_numpy(np.concatenate(starts)[:, None] + np.arange(self.frames) * self.stride)


def cut(film: Film, start: int, end: int) -> Film:
    """The film from one frame to before another."""
    frames = film.frames[start:end]
    stems = {frame.path.stem for frame in frames}
    masks = {stem: mask for stem, mask in film.masks.items() if stem in stems}
    return replace(film, frames=frames, masks=masks)
