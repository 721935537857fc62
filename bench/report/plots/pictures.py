"""The pictures of a table's protocol: what it asked, and the answers of the best method, the ceiling and the floor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import UserError
from ...records.record import Examples, Record
from ..row_labels import row_labels
from . import add_title, empty_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table

PICTURE = 0.5  # inches
GAP, CAPTION = 0.05, 0.1  # inches between pictures, and below them for a caption
SIDE_BY_SIDE = 9  # columns that a figure has next to each other at most
ROWS_BELOW = 3  # of each method where methods are below each other
TINY_TEXT = 4.5  # points, of captions
MAX_SIDE = 256  # pixels of a picture that is read


class Shown(NamedTuple):
    """A method's pictures (rows, columns, side, side, 3), with the texts of its record."""

    heading: str
    pictures: np.ndarray
    examples: Examples


def save_pictures(table: Table, folder: Path, formats: Collection[str]) -> list[Path]:
    """Write the figure as PNG if a record of the table has pictures; returns the paths."""
    shown = list(iter_shown(table)) if any(record.examples for record in table.records) else []
    if not shown or "png" not in formats:
        return []
    digests = [sha256(one.pictures.tobytes()).hexdigest() for one in shown]
    content = [table.title, digests, [[one.heading, repr(one.examples)] for one in shown]]
    return save_figure(f"pictures-{table.name}", content, lambda: draw_pictures(table, shown), folder, ("png",))


def iter_shown(table: Table) -> Iterator[Shown]:
    """The best method, the ceiling and the floor: those whose records have pictures that can be read."""
    labels = row_labels(table.records)
    for role in ("", "ceiling", "floor"):
        rows = table.rows[(table.rows["role"] == role) & (table.rows["tap"] == table.headline_tap)]
        for label in rows["label"]:  # the best first
            records = [record for record in table.records if labels[record.key] == label and record.examples]
            newest = max(records, key=lambda record: record.provenance.created, default=None)
            pictures = read_pictures(newest) if newest else None
            if newest and newest.examples and pictures is not None:
                yield Shown(f"{label} ({role})" if role else label, pictures, newest.examples)
                break


def read_pictures(record: Record) -> np.ndarray | None:
    """The pictures of a record's examples, uint8 (rows, columns, side, side, 3); None if its file has none."""
    from PIL import Image

    examples = record.examples
    if not examples or not examples.titles or not 1 <= examples.side <= MAX_SIDE:
        return None
    side, columns = examples.side, len(examples.titles)
    try:
        path = record.path_of(examples.file)
        content = path.read_bytes() if path else b""
        with Image.open(BytesIO(content), formats=("WEBP",)) as image:
            if image.width != columns * side or not 0 < image.height <= 100 * side or image.height % side:
                return None
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, UserError):  # pictures are an extra: without them the report is complete
        return None
    return np.ascontiguousarray(pixels.reshape(-1, side, columns, side, 3).swapaxes(1, 2))


def draw_pictures(table: Table, shown: Sequence[Shown]) -> Figure:
    """A block of pictures per method, next to each other if they are narrow, otherwise below each other."""
    side_by_side = sum(len(one.examples.titles) for one in shown) <= SIDE_BY_SIDE
    if not side_by_side:
        shown = [one._replace(pictures=one.pictures[:ROWS_BELOW]) for one in shown]
    sizes = [block_size(one) for one in shown]
    rows, columns = (1, len(shown)) if side_by_side else (len(shown), 1)
    widths, heights = zip(*sizes, strict=True)
    total = (sum(widths), max(heights)) if side_by_side else (max(widths), sum(heights))
    figure = empty_figure(total[0] + 0.15 * columns, total[1] + 0.35 * rows + 0.3)
    panels = figure.subplots(
        rows,
        columns,
        squeeze=False,
        width_ratios=widths if side_by_side else None,
        height_ratios=None if side_by_side else heights,
    )
    for axes, one in zip(panels.flat, shown, strict=True):
        draw_block(axes, one)
    add_title(figure, f"{table.protocol}: what is asked, and what the features of {table.headline_tap} answer")
    return figure


def block_size(one: Shown) -> tuple[float, float]:
    """Width and height of a method's block in inches."""
    rows, columns = one.pictures.shape[:2]
    return columns * (PICTURE + GAP), rows * row_height(one.examples)


def row_height(examples: Examples) -> float:
    """Inches from one row of pictures to the next."""
    return PICTURE + (CAPTION if any(examples.captions) else 0) + GAP


def draw_block(axes: Axes, one: Shown) -> None:
    """Draw the pictures of a method with titles above and captions below; coordinates are in inches."""
    width, height = block_size(one)
    step = row_height(one.examples)
    for row, pictures in enumerate(one.pictures):
        for column, picture in enumerate(pictures):
            left, top = column * (PICTURE + GAP), row * step
            axes.imshow(picture, extent=(left, left + PICTURE, top + PICTURE, top), interpolation="nearest")
            texts = one.examples.captions[column] if column < len(one.examples.captions) else ()
            if row < len(texts):
                write(axes, left + PICTURE / 2, top + PICTURE + 0.01, texts[row][:24], "top")
    for column, title in enumerate(one.examples.titles):
        write(axes, column * (PICTURE + GAP) + PICTURE / 2, -0.02, title[:24], "bottom")
    axes.set(xlim=(0, width - GAP), ylim=(height, -0.1), aspect="equal", title=one.heading)
    axes.axis("off")


def write(axes: Axes, x: float, y: float, text: str, vertical: str) -> None:
    """Write a small text, centred at a place."""
    axes.text(x, y, text, ha="center", va=vertical, fontsize=TINY_TEXT, parse_math=False)
