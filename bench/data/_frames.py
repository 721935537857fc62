"""Videos as folders of frames in DAVIS's layout: listed and checked before any frame is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..storage.cache import cache_folder
from ._arrays import load_or_make_array
from ._pictures import FORMATS, PREPARATION, SUFFIXES, Broken, Pixels, decode_chunks, error_reason, with_progress_bar
from ._store import Chunk, cache_errors_as_user_errors, load_or_decode
from ._tree import SAMPLE, permission_as_user_error, subfolders

FRAMES, MASKS = "JPEGImages", "Annotations"
LAYOUT = f"{FRAMES}/<sequence>/00000.jpg, 00001.jpg, …"
VOID = 255  # in masks with a palette: belongs to no object


@dataclass(frozen=True, kw_only=True)
class FrameFile:
    """A frame or a mask on disk."""

    path: Path
    size: int  # bytes
    time: int  # of the last change, nanoseconds


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
    def labels(self) -> NDArray[np.int64]:
        """The index of each frame's video (N,)."""
        return np.repeat(np.arange(len(self.videos)), [len(video.frames) for video in self.videos])


def list_videos(root: Path) -> tuple[Path, tuple[Video, ...]]:
    """The folder that holds the frames' folder, and the videos by name. Raises UserError for any other layout."""
    with permission_as_user_error(root):
        root = _find_frames_root(root)
        frames, masks = root / FRAMES, root / MASKS
        names = subfolders(frames)
        if names and not any(list_pictures(frames / name) for name in names) and subfolders(frames / names[0]):
            # DAVIS 2017 has a folder per resolution in between.
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
        return root, tuple(list_video(frames / name, masks / name if name in masked else None) for name in names)


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


def list_video(frames: Path, masks: Path | None) -> Video:
    """One video. Raises UserError if it has no frames, or if a mask has no frame or another size than its frame."""
    frame_files = list_pictures(frames)
    if not frame_files:
        raise UserError(
            f"{frames}: no frames in it. Fill or remove the folder; frames end in {', '.join(sorted(SUFFIXES))}."
        )
    mask_files = {mask.path.stem: mask for mask in list_pictures(masks)} if masks else {}
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


def list_pictures(where: Path) -> list[FrameFile]:
    """The picture files of a folder, ordered by the numbers in their names: 2 before 10."""
    with os.scandir(where) as entries:
        files = [
            FrameFile(path=where / entry.name, size=entry.stat().st_size, time=entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name[0] != "." and Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()
        ]
    return sorted(files, key=lambda file: natural_sort_key(file.path.name))


def natural_sort_key(name: str) -> list[str | int]:
    """Splits a name into text and numbers, so that names are sorted by their numbers."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def join_names(names: Sequence[str]) -> str:
    """The first four names, for messages."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def split_identity(split: VideoSplit, size: int) -> str:
    """Hex digest of a split's frames and masks; it does not depend on where they are or when they were copied."""
    digest = hashlib.sha256(json.dumps([PREPARATION, size]).encode())
    for video in split.videos:
        for kind, files in ((FRAMES, video.frames), (MASKS, tuple(video.masks.values()))):
            for file in files:
                line = f"{kind}/{video.name}/{file.path.name}\0{file.size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    # Uncompressed pictures all have one length; a sample tells videos apart that differ only in their pixels.
    frames = split.frames
    for index in sorted({int(index) for index in np.linspace(0, len(frames) - 1, SAMPLE)}):
        with permission_as_user_error(split.root), frames[index].path.open("rb") as content:
            digest.update(hashlib.sha256(content.read()).digest())
    return digest.hexdigest()


def entry_name(split: VideoSplit, name: str, size: int) -> str:
    """The name of a split's frames in the cache. It depends on file times: an edit may not change the length."""
    key = [PREPARATION, size, [(f"{f.path.parent.name}/{f.path.name}", f.size, f.time) for f in split.frames]]
    return f"{name[:60]}-{split.split}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"


def load_frames(
    split: VideoSplit, name: str, size: int, workers: int
) -> tuple[Pixels, NDArray[np.int64], list[Broken]]:
    """The readable frames (N, 3, size, size), the indices of their videos (N,), and the broken frames."""
    labels = split.labels

    def chunks() -> Iterator[Chunk]:
        start = 0
        decoded = decode_chunks([str(frame.path) for frame in split.frames], size, workers)
        title = f"Decoding {name}/{split.split}"
        for images, broken in with_progress_bar(
            decoded, title, len(labels), size_of=lambda chunk: len(chunk[0]) + len(chunk[1])
        ):
            end = start + len(images) + len(broken)
            yield images, np.delete(labels[start:end], [i - start for i, _ in broken]), broken
            start = end

    stored = load_or_decode(entry_name(split, name, size), size, len(labels), chunks)
    return stored.images, stored.labels, stored.broken


def load_masks(split: VideoSplit, name: str, size: int) -> Pixels:
    """Object numbers (N, size, size), 0 for the background. Raises UserError for a frame without a fitting mask."""
    files = []
    for video in split.videos:
        for frame in video.frames:
            if frame.path.stem not in video.masks:
                raise UserError(
                    f"{frame.path}: has no mask; every frame needs one. "
                    f"Add {split.root / MASKS}/{video.name}/{frame.path.stem}.png."
                )
            files.append((frame, video.masks[frame.path.stem]))

    def fill(out: Pixels) -> None:
        for index, (frame, mask) in enumerate(files):
            check_same_size(frame.path, mask.path)
            out[index] = read_mask(mask.path, size)

    times = hashlib.sha256(json.dumps([(str(mask.size), mask.time) for _, mask in files]).encode()).hexdigest()[:16]
    file = cache_folder() / "pictures" / f"{entry_name(split, name, size)}-masks-{times}.npy"
    with cache_errors_as_user_errors():
        return load_or_make_array(file, (len(files), size, size), np.dtype(np.uint8), fill)


def read_mask(path: Path, size: int) -> Pixels:
    """A mask's central square as object numbers: uint8 (size, size).

    The numbers are palette indices or greys; in a mask of black and white, white is object 1.
    """
    from PIL import Image
    from PIL.Image import Resampling

    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            numbers = np.asarray(image if image.mode in ("P", "L", "1") else image.convert("RGB"), dtype=np.uint8)
            if numbers.ndim == 3:
                if (numbers != numbers[..., :1]).any():
                    raise ValueError("colours instead of the numbers of objects; save it with a palette or in grey")
                numbers = numbers[..., 0]
            side = min(numbers.shape)
            top, left = ((length - side) / 2 for length in numbers.shape)
            box = (left, top, left + side, top + side)
            square = np.asarray(Image.fromarray(numbers).resize((size, size), Resampling.NEAREST, box=box))
            if image.mode == "P":
                return np.where(square == VOID, 0, square)
            return (square > 127).astype(np.uint8) if numbers.max(initial=0) == 255 else square
    except Exception as error:  # PIL raises nearly anything on damaged files
        raise UserError(f"{path}: this mask cannot be read ({error_reason(error, path)}). Fix it.") from error


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
