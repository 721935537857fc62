"""Films as folders of frames in DAVIS's layout, looked over before any frame is read."""

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
from ._arrays import kept
from ._pictures import FORMATS, PREPARATION, SUFFIXES, Broken, Pixels, chunks_decoded, reason, watched
from ._store import Chunk, cache_writes, stored
from ._tree import SAMPLE, permitted

FRAMES, MASKS = "JPEGImages", "Annotations"
LAYOUT = f"{FRAMES}/<sequence>/00000.jpg, 00001.jpg, …"
VOID = 255  # in masks with a palette: belongs to no object


@dataclass(frozen=True, kw_only=True)
class File:
    """A picture file as its folder lists it."""

    path: Path
    size: int  # bytes
    time: int  # of the last change, nanoseconds


@dataclass(frozen=True, kw_only=True)
class Film:
    """A sequence: its frames in the order in which they play, and the masks that there are by the frames' stems."""

    name: str
    frames: tuple[File, ...]
    masks: dict[str, File]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The frames of one split, sequence after sequence."""

    split: str
    root: Path  # holds the folder of frames
    films: tuple[Film, ...]

    @property
    def frames(self) -> list[File]:
        """All frames, in order."""
        return [frame for film in self.films for frame in film.frames]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Which sequence each frame is of (N,)."""
        return np.repeat(np.arange(len(self.films)), [len(film.frames) for film in self.films])


def listed(root: Path) -> tuple[Path, tuple[Film, ...]]:
    """The folder that holds the frames' folder, and the sequences by name; UserError if the layout is another."""
    with permitted(root):
        names = folders(root)
        if FRAMES not in names and len(names) == 1 and FRAMES in folders(root / names[0]):
            root, names = root / names[0], folders(root / names[0])
        if not names:
            raise UserError(f"{root}: empty, there are no folders in it. It must hold {LAYOUT}.")
        if FRAMES not in names:
            raise UserError(
                f"{root}: no {FRAMES} folder, only {some(names)}. It must hold {LAYOUT}; correct --data-dir."
            )
        frames, masks = root / FRAMES, root / MASKS
        sequences = folders(frames)
        if sequences and not any(pictures(frames / name) for name in sequences) and folders(frames / sequences[0]):
            # DAVIS 2017 has a folder for each resolution in between.
            frames, masks = frames / sequences[0], masks / sequences[0]
            sequences = folders(frames)
        if len(sequences) < 2:
            have = f"only one sequence ({sequences[0]})" if sequences else "no sequences"
            raise UserError(f"{frames}: {have}. It must hold a folder of frames for each of two or more sequences.")
        masked = folders(masks) if masks.is_dir() else []
        if strange := sorted(set(masked) - set(sequences)):
            raise UserError(
                f"{masks}: {some(strange)}: masks without frames in {frames}. Add the frames or remove the masks."
            )
        return root, tuple(film(frames / name, masks / name if name in masked else None) for name in sequences)


def film(frames: Path, masks: Path | None) -> Film:
    """One sequence; UserError where it has no frames, or a mask lacks its frame or has another size."""
    shots = pictures(frames)
    if not shots:
        raise UserError(
            f"{frames}: no frames in it. Fill or remove the folder; frames end in {', '.join(sorted(SUFFIXES))}."
        )
    found = {mask.path.stem: mask for mask in pictures(masks)} if masks else {}
    if lost := [mask.path.name for stem, mask in found.items() if stem not in {shot.path.stem for shot in shots}]:
        raise UserError(
            f"{masks}: {some(lost)}: a mask without its frame in {frames}. Add the frame or remove the mask."
        )
    first = next((shot for shot in shots if shot.path.stem in found), None)
    if first:  # all the others are compared when they are read
        same_size(first.path, found[first.path.stem].path)
    return Film(name=frames.name, frames=tuple(shots), masks=found)


def pictures(where: Path) -> list[File]:
    """The picture files of a folder, ordered by the numbers in their names: 2 before 10."""
    with os.scandir(where) as entries:
        files = [
            File(path=where / entry.name, size=entry.stat().st_size, time=entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name[0] != "." and Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file()
        ]
    return sorted(files, key=lambda file: numbered(file.path.name))


def numbered(name: str) -> list[str | int]:
    """A name's words and numbers in turn, so that names sort by their numbers."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def folders(where: Path) -> list[str]:
    """Names of the folders inside, sorted, without hidden ones and what macOS adds to archives."""
    with os.scandir(where) as entries:
        return sorted(e.name for e in entries if e.name[0] != "." and e.name != "__MACOSX" and e.is_dir())


def some(names: Sequence[str]) -> str:
    """The start of a list that may be long."""
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def identity(part: Part, size: int) -> str:
    """Hex digest of a split's frames and masks; it does not depend on where they lie or when they were copied."""
    digest = hashlib.sha256(json.dumps([PREPARATION, size]).encode())
    for one in part.films:
        for kind, files in ((FRAMES, one.frames), (MASKS, tuple(one.masks.values()))):
            for file in files:
                line = f"{kind}/{one.name}/{file.path.name}\0{file.size}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    # Uncompressed pictures are all of one length; a sample tells apart films that differ in pixels only.
    frames = part.frames
    for place in sorted({int(place) for place in np.linspace(0, len(frames) - 1, SAMPLE)}):
        with permitted(part.root), frames[place].path.open("rb") as content:
            digest.update(hashlib.sha256(content.read()).digest())
    return digest.hexdigest()


def entry(part: Part, name: str, size: int) -> str:
    """The cache's name for a split's frames; times count here, for an edit may keep the length."""
    facts = [PREPARATION, size, [(f"{f.path.parent.name}/{f.path.name}", f.size, f.time) for f in part.frames]]
    return f"{name[:60]}-{part.split}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"


def frames_of(part: Part, name: str, size: int, workers: int) -> tuple[Pixels, NDArray[np.int64], list[Broken]]:
    """The readable frames (N, 3, size, size), their sequences (N,), and those that cannot be read."""
    labels = part.labels

    def chunks() -> Iterator[Chunk]:
        place = 0
        decoded = chunks_decoded([str(frame.path) for frame in part.frames], size, workers)
        for images, broken in watched(
            decoded, f"Decoding {name}/{part.split}", len(labels), done=lambda chunk: len(chunk[0]) + len(chunk[1])
        ):
            end = place + len(images) + len(broken)
            yield images, np.delete(labels[place:end], [i - place for i, _ in broken]), broken
            place = end

    found = stored(entry(part, name, size), size, len(labels), chunks)
    return found.images, found.labels, found.broken


def masks_of(part: Part, name: str, size: int) -> Pixels:
    """Object numbers (N, size, size), 0 for the background; UserError where a frame has no mask that fits it."""
    files = []
    for one in part.films:
        for frame in one.frames:
            if frame.path.stem not in one.masks:
                raise UserError(
                    f"{frame.path}: has no mask; masks are wanted of every frame, "
                    f"as {part.root / MASKS}/{one.name}/{frame.path.stem}.png."
                )
            files.append((frame, one.masks[frame.path.stem]))

    def fill(out: Pixels) -> None:
        for place, (frame, mask) in enumerate(files):
            same_size(frame.path, mask.path)
            out[place] = objects(mask.path, size)

    times = hashlib.sha256(json.dumps([(str(mask.size), mask.time) for _, mask in files]).encode()).hexdigest()[:16]
    file = cache_folder() / "pictures" / f"{entry(part, name, size)}-masks-{times}.npy"
    with cache_writes():
        return kept(file, (len(files), size, size), np.dtype(np.uint8), fill)


def objects(path: Path, size: int) -> Pixels:
    """A mask's central square as object numbers, uint8 (size, size): palette indices or greys, 1 where it is white."""
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
        raise UserError(f"{path}: a mask that cannot be read ({reason(error, path)}). Mend it.") from error


def same_size(frame: Path, mask: Path) -> None:
    """UserError if a frame and its mask differ in size by their heads; damaged ones are told when they are read."""
    from PIL import Image

    sizes = []
    for path in (frame, mask):
        try:
            with Image.open(path, formats=FORMATS) as image:
                sizes.append(image.size)
        except Exception:  # PIL raises nearly anything on damaged files
            return
    if sizes[0] != sizes[1]:
        (width, height), (wide, high) = sizes
        raise UserError(
            f"{mask}: {wide} x {high} pixels, but its frame {frame} has {width} x {height}. Bring both to one size."
        )
