"""Any videos: folders of frames in DAVIS's layout, ``DIR/JPEGImages/<sequence>/00000.jpg …``.

DIR may be a .zip or .tar archive, which is unpacked once into the cache.
``JPEGImages/`` may be inside one other folder, and may contain a folder per
resolution, as in DAVIS 2017. Masks are optional files of the same names in
``Annotations/``: object numbers as palette indices or greys, or white on black.
Frames are cropped to their central square and resized.

Each sequence is split in time: its beginning is train, its end is test, and
``gap`` frames between them are in neither; a sequence too short for that is all
train. A clip is ``frames`` frames of one split, ``stride`` apart. As images,
frames are labelled with their sequence, so that methods without clips can be
pretrained too; frames of one video are so similar that accuracies on these
labels mean little.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from ..errors import UserError
from ..plugins.ranges import Count
from ..storage.hashing import fingerprint
from . import Dataset, DatasetInfo, DatasetSource, Split
from ._archive import dataset_name
from ._frames import LAYOUT, Video, VideoSplit, list_videos, load_frames, split_identity
from ._masks import load_masks
from ._pictures import CORES, describe_unreadable, unreadable_error
from ._splits import RESIDENT
from ._tree import locate_root
from ._values import check_range, find_value_range

if TYPE_CHECKING:
    from torch import Tensor

ADVICE = f"a directory, or a .zip or .tar of one, that holds {LAYOUT}"


@dataclass(frozen=True, kw_only=True)
class Clips(DatasetSource):
    """Videos of a directory, each a folder of frames."""

    data_dir: str | None = None
    image_size: Annotated[int, Interval(ge=8, le=1024)] = 32  # pixels
    frames: Annotated[int, Ge(2)] = 8  # per clip
    stride: Count = 2  # frames of the video from one frame of a clip to the next
    test: Annotated[float, Interval(gt=0, lt=1)] = (
        0.2  # share of each sequence, at its end, that is test; at least the length of a clip
    )
    gap: Annotated[int, Ge(0)] = 8  # frames between train and test that are in neither
    name: str | None = None  # in records; by default that of the directory
    skip_unreadable: bool = False  # leave broken frames out instead of refusing the whole set
    workers: Count = CORES  # threads that decode
    range: tuple[Annotated[float, Interval(ge=-1e12, le=1e12)], ...] | None = None
    """low,high: the values that become black and white in pictures of more than 8 bits per value."""

    provides: ClassVar[frozenset[str]] = frozenset({"labels", "clips", "clip_masks"})

    def check(self) -> DatasetInfo:
        """Describes the listed frames. Raises UserError for any other layout, or if a sequence is too short."""
        return self._info

    @cached_property
    def _info(self) -> DatasetInfo:
        name, value_range = dataset_name(self.name, self.data_dir), check_range("clips.range", self.range)
        train, test = self._splits
        identities = [split_identity(split, self.image_size) for split in (train, test)]
        ranged = [list(value_range)] if value_range else []
        return DatasetInfo(
            name=name,
            identity=fingerprint([*identities, self.frames, self.stride, *ranged]),
            image_size=self.image_size,
            classes=tuple(video.name for video in train.videos),
            train_images=len(train.frames),
            test_images=len(test.frames),
            value_range=find_value_range(train.root, train, test, value_range, "clips.range"),
        )

    def load(self, needs: frozenset[str]) -> Dataset:
        """Both splits. Raises UserError if frames cannot be read and are not to be skipped."""
        info = self.check()
        train, test = (self._load_split(split, info, needs) for split in self._splits)
        return Dataset(name=info.name, classes=info.classes, image_size=info.image_size, train=train, test=test)

    @property
    def _span(self) -> int:
        """The number of frames of the video from a clip's first to its last."""
        return (self.frames - 1) * self.stride + 1

    @cached_property
    def _splits(self) -> tuple[VideoSplit, VideoSplit]:
        root, videos = list_videos(locate_root(self.data_dir, "clips", ADVICE))
        self._check_lengths(root, videos)
        train, test = [], []
        for video in videos:
            end = len(video.frames)
            test_frames = self._test_frames(end)
            train.append(cut_video(video, 0, end - test_frames - self.gap if test_frames else end))
            test.append(cut_video(video, end - test_frames, end))
        return (
            VideoSplit(split="train", root=root, videos=tuple(train)),
            VideoSplit(split="test", root=root, videos=tuple(test)),
        )

    def _check_lengths(self, root: Path, videos: tuple[Video, ...]) -> None:
        """Raises UserError unless each video has room for a clip, and one for a train and a test clip."""
        shortest = min(videos, key=lambda video: len(video.frames))
        longest = max(videos, key=lambda video: len(video.frames))
        advice = f"clips of {self.frames} frames, each {self.stride} after the last, take {self._span}. Lower --set"
        if len(shortest.frames) < self._span:
            raise UserError(
                f"{root}: sequence {shortest.name!r} has {len(shortest.frames)} frames, and {advice} "
                "clips.stride or clips.frames, or remove the sequence."
            )
        if not any(self._test_frames(len(video.frames)) for video in videos):
            raise UserError(
                f"{root}: no sequence has the {2 * self._span + self.gap} frames that make a train and a test part; "
                f"the longest, {longest.name!r}, has {len(longest.frames)}, and {advice} "
                f"clips.stride, clips.frames or clips.gap (now {self.gap})."
            )

    def _test_frames(self, length: int) -> int:
        """How many frames of a video of this length are test; 0 if no train clip would be left."""
        test = max(self._span, round(length * self.test))
        return test if length - test - self.gap >= self._span else 0

    def _load_split(self, split: VideoSplit, info: DatasetInfo, needs: frozenset[str]) -> Split:
        import torch

        images, labels, broken = load_frames(split, info.name, self.image_size, self.workers, info.value_range)
        if broken:
            paths = [str(frame.path.relative_to(split.root)) for frame in split.frames]
            named = [(paths[index], reason) for index, reason in broken]
            if not self.skip_unreadable:
                raise unreadable_error(split.root, named)
            logging.getLogger(__name__).warning("%s Left out.", describe_unreadable(split.root, named))
        for index, video in enumerate(split.videos):
            if video.frames and (labels == index).sum() < self._span:
                raise UserError(
                    f"{split.root}: too few readable frames of {video.name!r} are left. Fix or remove the sequence."
                )
        loaded = Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels))
        if not needs & {"clips", "clip_masks"}:
            return loaded
        clip_frames = self._clip_frames(np.bincount(labels))
        loaded = replace(loaded, clips=torch.from_numpy(images)[clip_frames])
        if "clip_masks" in needs:
            masks = np.delete(load_masks(split, info.name, self.image_size), [index for index, _ in broken], 0)
            loaded = replace(loaded, clip_masks=torch.from_numpy(masks)[clip_frames])
        return loaded

    def _clip_frames(self, lengths: NDArray[np.int64]) -> Tensor:
        """int64 (M, T): the indices of each clip's frames, for videos of these lengths.

        A clip starts at every frame, or at fewer if all clips would take more than RESIDENT bytes.
        """
        import torch

        clips = sum(max(0, length - self._span + 1) for length in lengths)
        step = max(1, -(-int(clips) * self.frames * 3 * self.image_size**2 // RESIDENT))
        firsts = np.cumsum(lengths) - lengths
        starts = [
            np.arange(first, first + length - self._span + 1, step)
            for first, length in zip(firsts, lengths, strict=True)
        ]
        return torch.from_numpy(np.concatenate(starts)[:, None] + np.arange(self.frames) * self.stride)


def cut_video(video: Video, start: int, end: int) -> Video:
    """The video's frames from ``start`` to before ``end``, with their masks."""
    frames = video.frames[start:end]
    stems = {frame.path.stem for frame in frames}
    masks = {stem: mask for stem, mask in video.masks.items() if stem in stems}
    return replace(video, frames=frames, masks=masks)
