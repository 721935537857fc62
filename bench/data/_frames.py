"""Videos as folders of frames in DAVIS's layout: listed and checked before any frame is read."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..progress import with_progress_bar
from ..storage.hashing import fingerprint
from ._content import FileState, check_unchanged, hash_files, state_of
from ._listing import LITTER, LeftOut, compose, follow, is_picture, permission_as_user_error, subfolders
from ._pictures import FORMATS, PREPARATION, SUFFIXES, Broken, Pixels, decode_chunks
from ._rgb import ValueRange
from ._store import Chunk, load_or_decode
from ._tree import SAMPLE

if TYPE_CHECKING:
    pass

FRAMES, MASKS = "JPEGImages", "Annotations"
LAYOUT = f"{FRAMES}/<sequence>/00000.jpg, 00001.jpg, …"


@dataclass(frozen=True, kw_only=True)
class FrameFile:
    """A frame or a mask on disk."""

    path: Path
    state: FileState


@dataclass(frozen=True, kw_only=True)
class Video:
    """One sequence: its frames in temporal order, and the existing masks by the stems of their frames' names."""

    name: str
    frames: tuple[FrameFile, ...]
    masks: dict[str, FrameFile]


@dataclass(frozen=True, kw_only=True)
class VideoSplit:
    """The frames of one split, video by video."""

    split: str
    root: Path  # holds the folder of frames
    videos: tuple[Video, ...]

    @property
    def frames(self) -> list[FrameFile]:
        """The frames of all videos, in order."""
        return [frame for video in self.videos for frame in video.frames]

    @property
    def masks(self) -> list[FrameFile]:
        """The existing masks of all videos, in order."""
        return [mask for video in self.videos for mask in video.masks.values()]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The index of each frame's video (N,)."""
        return np.repeat(np.arange(len(self.videos)), [len(video.frames) for video in self.videos])

    def full_paths(self) -> list[str]:
        """The paths of all frames, in order."""
        return [str(frame.path) for frame in self.frames]

    def sample(self) -> list[str]:
        """The paths of some frames, evenly spread."""
        paths = self.full_paths()
        return [paths[i] for i in sorted({int(i) for i in np.linspace(0, len(paths) - 1, SAMPLE)})]

    @cached_property
    def digest(self) -> str:
        """Hex digest of the names and every byte of the frames."""
        return self._digest_of(self.frames, "frames")

    @cached_property
    def mask_digest(self) -> str:
        """Hex digest of the names and every byte of the masks."""
        return self._digest_of(self.masks, "masks")

    def _digest_of(self, files: Sequence[FrameFile], kind: str) -> str:
        paths = [str(file.path.relative_to(self.root)) for file in files]
        with permission_as_user_error(self.root):
            hashes = hash_files(self.root, paths, [file.state for file in files], f"{self.split} {kind}")
        digest = hashlib.sha256()
        for file, content in zip(files, hashes, strict=True):
            name = compose(f"{file.path.parent.name}/{file.path.name}")
            digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def list_videos(root: Path) -> tuple[Path, tuple[Video, ...]]:
    """The folder that holds the frames' folder, and the videos by name. Raises UserError for any other layout."""
    with permission_as_user_error(root):
        root = _find_frames_root(root)
        frames, masks = root / FRAMES, root / MASKS
        names = subfolders(frames)
        if (
            names
            and not any(list_pictures(frames / name, LeftOut()) for name in names)
            and subfolders(frames / names[0])
        ):
            # DAVIS 2017 has a folder per resolution in between.
            if names[1:]:
                logging.getLogger(__name__).warning(
                    "%s: only %s is used, not %s.", root, names[0], join_names(names[1:])
                )
            frames, masks = frames / names[0], masks / names[0]
            names = subfolders(frames)
        if len(names) < 2:
            have = f"only one sequence ({names[0]})" if names else "no sequences"
            raise UserError(f"{frames}: {have}. It must hold a folder of frames for each of two or more sequences.")
        masked = subfolders(masks) if masks.is_dir() else []
        if unknown := sorted(set(masked) - set(names)):
            raise UserError(
                f"{masks}: {join_names(unknown)}: masks without frames in {frames}. Add the frames or remove the masks."
            )
        left_out = LeftOut()
        videos = [list_video(frames / name, masks / name if name in masked else None, left_out) for name in names]
    for sentence in left_out.sentences():
        logging.getLogger(__name__).warning("%s: %s", root, sentence)
    return root, tuple(videos)


def _find_frames_root(root: Path) -> Path:
    """The folder that holds the frames' folder: the given one or its only subfolder. Raises UserError."""
    names = subfolders(root)
    if FRAMES in names:
        return root
    if len(names) == 1 and FRAMES in subfolders(root / names[0]):
        return root / names[0]
    if not names:
        raise UserError(f"{root}: empty, there are no folders in it. It must hold {LAYOUT}.")
    raise UserError(f"{root}: no {FRAMES} folder, only {join_names(names)}. It must hold {LAYOUT}; correct --data-dir.")


def list_video(frames: Path, masks: Path | None, left_out: LeftOut) -> Video:
    """One video. Raises UserError if it has no frames, or if a mask has no frame or another size than its frame."""
    frame_files = list_pictures(frames, left_out)
    if not frame_files:
        raise UserError(
            f"{frames}: no frames in it. Fill or remove the folder; frames end in {', '.join(sorted(SUFFIXES))}."
        )
    mask_files = {mask.path.stem: mask for mask in list_pictures(masks, left_out)} if masks else {}
    stems = {frame.path.stem for frame in frame_files}
    if without_frame := [mask.path.name for stem, mask in mask_files.items() if stem not in stems]:
        raise UserError(
            f"{masks}: {join_names(without_frame)}: a mask without its frame in {frames}. "
            "Add the frame or remove the mask."
        )
    masked = next((frame for frame in frame_files if frame.path.stem in mask_files), None)
    if masked:  # the others are checked when they are read
        check_same_size(masked.path, mask_files[masked.path.stem].path)
    return Video(name=frames.name, frames=tuple(frame_files), masks=mask_files)


def list_pictures(where: Path, left_out: LeftOut) -> list[FrameFile]:
    """The picture files of a folder, ordered by the numbers in their names: 2 before 10.

    Raises UserError for a link that leads nowhere.
    """
    files = []
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name[0] == "." or entry.name in LITTER:
                continue
            status = follow(entry)
            if status is None:
                raise UserError(f"{where / entry.name}: a link that leads nowhere. Fix or remove it.")
            if is_picture(entry.name) and stat.S_ISREG(status.st_mode):
                files.append(FrameFile(path=where / entry.name, state=state_of(status)))
            else:
                left_out.add_file(entry.name)
    return sorted(files, key=lambda file: natural_sort_key(file.path.name))


def natural_sort_key(name: str) -> list[str | int]:
    """Splits a name into text and numbers, so that names are sorted by their numbers."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def join_names(names: Sequence[str]) -> str:
    """The first four names, for messages."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def split_identity(split: VideoSplit, size: int) -> str:
    """Hex digest of a split's frames and masks; it does not depend on where they are or when they were copied."""
    return fingerprint([PREPARATION, size, split.digest, split.mask_digest])


def entry_name(split: VideoSplit, name: str, size: int, value_range: ValueRange | None) -> str:
    """The name of a split's frames in the cache. It depends on all that is stored: content, range and labels."""
    key = [PREPARATION, size, split.digest, value_range, split.labels.tolist()]
    return f"{name[:60]}-{split.split}-{fingerprint(key)}"


def load_frames(
    split: VideoSplit, name: str, size: int, workers: int, value_range: ValueRange | None
) -> tuple[Pixels, NDArray[np.int64], list[Broken]]:
    """The readable frames (N, 3, size, size), the indices of their videos (N,), and the broken frames."""
    labels = split.labels

    def chunks() -> Iterator[Chunk]:
        start = 0
        decoded = decode_chunks(split.full_paths(), size, workers, value_range)
        title = f"Decoding {name}/{split.split}"
        for images, broken in with_progress_bar(
            decoded, title, len(labels), size_of=lambda chunk: len(chunk[0]) + len(chunk[1])
        ):
            end = start + len(images) + len(broken)
            yield images, np.delete(labels[start:end], [i - start for i, _ in broken]), broken
            start = end
        check_unchanged(split.root, split.full_paths(), [frame.state for frame in split.frames])

    stored = load_or_decode(entry_name(split, name, size, value_range), size, len(labels), chunks)
    return stored.images, stored.labels, stored.broken


def check_same_size(frame: Path, mask: Path) -> None:
    """Raises UserError if a frame and its mask differ in size by their headers; damaged files are reported later."""
    from PIL import Image

    sizes = []
    for path in (frame, mask):
        try:
            with Image.open(path, formats=FORMATS) as image:
                sizes.append(image.size)
        except Exception:  # PIL raises nearly anything on damaged files
            return
    if sizes[0] != sizes[1]:
        (frame_width, frame_height), (mask_width, mask_height) = sizes
        raise UserError(
            f"{mask}: {mask_width} x {mask_height} pixels, but its frame {frame} has {frame_width} x {frame_height}. "
            "Bring both to one size."
        )
