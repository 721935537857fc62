"""The range of values of a data set whose pictures have more than 8 bits: one for both splits, that of train."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..progress import with_progress_bar
from ..storage.atomic import atomic_write
from ..storage.cache import cache_folder
from ._pictures import CHUNK, CORES, FORMATS, map_in_threads, may_exceed_8_bits
from ._rgb import ValueKind, ValueRange, check_one_page, read_values, value_kind

SAMPLED_VALUES = 1 << 22  # values of a split whose percentiles are computed
FEWEST_LEVELS = 32  # of 256 greys: fewer for the middle values mean that a few outliers set the range
FAR = 0.5  # of train's range: ends of test's range that differ by more are reported


class Files(Protocol):
    """The picture files of a split."""

    @property
    def digest(self) -> str:
        """A hash of all content."""
        ...

    def full_paths(self) -> list[str]: ...

    def sample(self) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class SplitValues:
    """The values of a split's pictures."""

    examples: dict[ValueKind, str]  # the path of the first picture of each kind
    low: float = 0.0
    high: float = 0.0
    middle: ValueRange = (0.0, 0.0)  # without the lowest and the highest thousandth
    brightest_colour: int = 255  # the largest upper byte of 16-bit colours

    @property
    def has_range(self) -> bool:
        """Whether some pictures are of integers or floats."""
        return bool({"integers", "floats"} & self.examples.keys())


def check_range(setting: str, given: Sequence[float] | None) -> ValueRange | None:
    """The value range that a setting gives. Raises UserError unless it is a lower and a higher number."""
    if given is None:
        return None
    if len(given) != 2 or not given[0] < given[1]:
        raise UserError(f"{setting} = {','.join(map(str, given))}: must be a lower and a higher value, such as 0,4095.")
    return float(given[0]), float(given[1])


def find_value_range(
    root: Path, train: Files, test: Files, given: ValueRange | None, setting: str = "folder.range"
) -> ValueRange | None:
    """The values that become 0 and 255, for both splits: the given ones or train's own; None for pictures of 8 bits.

    Raises UserError if the range cannot be known. All pictures are searched, unless their suffixes and the headers of
    a sample say that they have 8 bits.
    """
    looks = [look for files in (train, test) for path in files.sample() if (look := _look_at(path))]
    if moving := sum(moves for _, moves in looks):
        logging.getLogger(__name__).warning(
            "%s: %d of %d pictures looked at are animations; only their first frame is used.", root, moving, len(looks)
        )
    deep = any(may_exceed_8_bits(path) for files in (train, test) for path in files.full_paths())
    if given is None and not deep and {kind for kind, _ in looks} <= {"8 bits"}:
        return None
    train_values, test_values = _load_values(root, train), _load_values(root, test)
    _check_colours(root, train_values, test_values)
    if not (train_values.has_range or test_values.has_range):
        if given:
            raise UserError(f"--set {setting}: {root} has only pictures of 8 bits, which need no range. Leave it out.")
        return None
    chosen = given or _own_range(root, train_values, test_values, setting)
    _report_range(root, train_values, test_values, chosen, setting)
    return chosen


def _own_range(root: Path, train: SplitValues, test: SplitValues, setting: str) -> ValueRange:
    """The train split's own range. Raises UserError if it would be a guess or would ruin most values."""
    examples = test.examples | train.examples
    if len(examples) > 1:
        kinds = " and of ".join(f"{kind} ({path})" for kind, path in sorted(examples.items()))
        raise UserError(
            f"{root}: pictures of {kinds} are mixed, so no range fits all. "
            f"Convert them to one kind, or choose the range of those above 8 bits with --set {setting}=low,high."
        )
    if train.low == train.high:
        raise UserError(
            f"{root}: all values in train are {train.low:g}, so their range is not known. "
            f"Give it with --set {setting}=low,high."
        )
    low, high = train.middle
    if (high - low) / (train.high - train.low) * 256 < FEWEST_LEVELS:
        raise UserError(
            f"{root}: values range from {train.low:g} to {train.high:g}, but nearly all are from {low:g} to {high:g} "
            f"and would become a few greys. Choose the range, for example --set {setting}={low:g},{high:g}."
        )
    return train.low, train.high


def _check_colours(root: Path, *splits: SplitValues) -> None:
    """Raises UserError for 16-bit colours that use only lower bits, which Pillow cuts off."""
    found = [split for split in splits if "16-bit colours" in split.examples]
    brightest = max((split.brightest_colour for split in found), default=255)
    if brightest < 128:
        raise UserError(
            f"{root}: its 16-bit colours are all below {256 * (brightest + 1):,} of 65,536, and only the upper 8 bits "
            f"can be read. Save {found[0].examples['16-bit colours']} and its like with 8 bits per colour."
        )


def _report_range(root: Path, train: SplitValues, test: SplitValues, chosen: ValueRange, setting: str) -> None:
    """Says which range is used, and if the splits' own ranges differ by far."""
    log = logging.getLogger(__name__)
    low, high = chosen
    log.warning("%s: values from %g to %g become 0 to 255 (--set %s=low,high changes that).", root, low, high, setting)
    difference = max(abs(train.low - test.low), abs(train.high - test.high))
    if train.has_range and test.has_range and difference > FAR * (train.high - train.low):
        log.warning(
            "%s: values range from %g to %g in train, but from %g to %g in test; both are scaled alike.",
            *(root, train.low, train.high, test.low, test.high),
        )


def _look_at(path: str) -> tuple[ValueKind, bool] | None:
    """A picture's kind of values, and whether it is an animation; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            kind = value_kind(image)
            moves = image.format in ("GIF", "WEBP", "PNG", "AVIF") and getattr(image, "is_animated", False)
            return kind, bool(moves)
    except Exception:  # PIL raises nearly anything on damaged files; ``load`` reports them
        return None


def _load_values(root: Path, files: Files) -> SplitValues:
    """The values of a split, from the cache or from all its pictures."""
    store = cache_folder() / "values" / f"{files.digest}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(store.read_text("utf-8"))
        if stored.pop("sha256") == _checksum(stored):
            return SplitValues(**stored | {"middle": tuple(stored["middle"])})
    values = _search_values(root, files.full_paths())
    content = json.loads(json.dumps(asdict(values)))
    with suppress(UserError):  # without a writable cache the values are searched again next time
        atomic_write(store, json.dumps(content | {"sha256": _checksum(content)}).encode())
    return values


def _checksum(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _search_values(root: Path, paths: Sequence[str]) -> SplitValues:
    count = max(16, SAMPLED_VALUES // len(paths))

    def search_chunk(start: int) -> list[tuple[ValueKind, NDArray[np.float64], str]]:
        found = ((_values_of(path), path) for path in paths[start : start + CHUNK])
        return [(looked[0], _summary(looked[1], count), path) for looked, path in found if looked]

    def chunks() -> Iterator[list[tuple[ValueKind, NDArray[np.float64], str]]]:
        steps = map_in_threads(search_chunk, range(0, len(paths), CHUNK), CORES)
        return with_progress_bar(steps, f"Searching the range of values in {root.name}", len(paths), size_of=len)

    found = [one for chunk in chunks() for one in chunk]
    examples = {kind: Path(os.path.relpath(path, root)).as_posix() for kind, _, path in reversed(found)}
    colours = [values.max() for kind, values, _ in found if kind == "16-bit colours"]
    ranged = [values for kind, values, _ in found if kind in ("integers", "floats")]
    brightest = int(max(colours, default=255))
    if not ranged:
        return SplitValues(examples=examples, brightest_colour=brightest)
    low, high = np.percentile(np.concatenate([values[2:] for values in ranged]), [0.1, 99.9])
    return SplitValues(
        examples=examples,
        low=float(min(values[0] for values in ranged)),
        high=float(max(values[1] for values in ranged)),
        middle=(float(low), float(high)),
        brightest_colour=brightest,
    )


def _values_of(path: str) -> tuple[ValueKind, NDArray[np.float64]] | None:
    """A picture's kind and its values, which are left empty for 8 bits; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            kind = value_kind(image)
            if kind == "8 bits":
                return kind, np.empty(0)
            check_one_page(image)
            image.load()
            colours = kind == "16-bit colours"
            return kind, np.asarray(image.convert("RGB"), np.float64) if colours else read_values(image)
    except MemoryError:
        raise
    except Exception:  # PIL raises nearly anything on damaged files; ``load`` reports them
        return None


def _summary(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The lowest and the highest value, followed by about ``count`` evenly spread ones."""
    if not values.size:
        return values
    flat = values.ravel()
    return np.concatenate([[flat.min(), flat.max()], flat[:: max(1, flat.size // count)]])
