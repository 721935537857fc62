"""Panels on one sheet: a row an image, a column a panel, a caption under each picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..method import Panel
from ..report.plots import DPI, TEXT
from ..storage.atomic import write_whole

# Lengths are pixels of the picture.
CELL = 192  # side of an image: a multiple of 32, 64 and 96
GAP, MARGIN = 28, 30
POINTS = 72 / DPI


def sheet(panels: Sequence[Panel], title: str, file: Path, *, rows: Sequence[str] = (), foot: str = "") -> None:
    """Writes a PNG with a row an image, a column a panel and a caption under each; ``rows`` labels the rows."""
    from matplotlib.figure import Figure

    pictures = [pixels(panel.images) for panel in panels]
    widths = [round(CELL * min(4.0, images.shape[2] / images.shape[1])) for images in pictures]
    labels = [Words(row, 8.5, CELL) for row in rows]
    first = MARGIN + max((label.width + GAP // 2 for label in labels), default=0)
    lefts = [first + sum(widths[:n]) + n * GAP for n in range(len(panels))]
    width = max(3 * (CELL + GAP), lefts[-1] + widths[-1] + MARGIN)

    heads = [Words(panel.title, 10, side + GAP // 2, bold=True) for panel, side in zip(panels, widths, strict=True)]
    captions = [
        [Words(caption, 8.5, side + GAP // 2) for caption in panel.captions] or [Words("", 8.5, side)] * len(images)
        for panel, side, images in zip(panels, widths, pictures, strict=True)
    ]
    above, below = Words(title, 12, width - 2 * MARGIN, bold=True), Words(foot, 7.5, width - 2 * MARGIN)
    tops = [MARGIN + above.height + 16 + max(head.height for head in heads) + 10]
    for row in zip(*captions, strict=True):
        tops.append(tops[-1] + CELL + 8 + max(words.height for words in row) + 18)
    height = tops[-1] + 6 + below.height + MARGIN // 2

    # Not through pyplot, which would keep the figure and choose a screen to show it on.
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(words: Words, x: float, y: float, **look: Any) -> None:
        shape: dict[str, Any] = {"ha": "left", "va": "top", "color": TEXT, "fontsize": words.size} | look
        weight = "bold" if words.bold else "normal"
        for n, line in enumerate(words.lines):
            y_line = 1 - (y + n * words.leading) / height
            figure.text(x / width, y_line, line, fontweight=weight, parse_math=False, **shape)

    write(above, MARGIN, MARGIN)
    for images, side, left, head, column in zip(pictures, widths, lefts, heads, captions, strict=True):
        write(head, left + side / 2, tops[0] - 10 - head.height, ha="center")
        for image, caption, top in zip(images, column, tops, strict=False):
            axes = figure.add_axes((left / width, 1 - (top + CELL) / height, side / width, CELL / height))
            small = image.shape[0] <= CELL
            axes.imshow(image, interpolation="nearest" if small else "antialiased")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="#dddddd", linewidth=0.8)
            write(caption, left + side / 2, top + CELL + 8, ha="center")
    for label, top in zip(labels, tops, strict=False):
        write(label, MARGIN, top + (CELL - label.height) / 2)
    write(below, MARGIN, tops[-1] + 6, color="#777777")
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    write_whole(file, content.getvalue())


class Words:
    """A text broken into lines that are at most ``width`` wide, as far as its words are; no-break spaces hold."""

    def __init__(self, text: str, size: float, width: float, *, bold: bool = False) -> None:
        self.size, self.bold = size, bold  # points
        self.leading = 1.35 * size / POINTS
        self.lines: list[str] = []
        for part in text.splitlines():
            line = ""
            for word in part.split(" "):
                longer = f"{line} {word}".strip(" ")
                if line and width_of(longer, size, bold) > width:
                    self.lines.append(line)
                    longer = word
                line = longer
            self.lines.append(line)

    @property
    def width(self) -> float:
        """Of the longest line."""
        return max((width_of(line, self.size, self.bold) for line in self.lines), default=0)

    @property
    def height(self) -> float:
        """Of all lines."""
        return self.leading * len(self.lines)


@cache
def width_of(text: str, size: float, bold: bool) -> float:
    """How wide a line of text is drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / POINTS


def pixels(images: Tensor) -> np.ndarray:
    """(N, 3, h, w), uint8 or in [0, 1] -> what matplotlib draws, (N, h, w, 3)."""
    images = images.detach().cpu().movedim(1, -1)
    return (images if images.dtype == torch.uint8 else images.float().clamp(0, 1)).numpy()
