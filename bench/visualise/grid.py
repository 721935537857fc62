"""A grid of images as one PNG: one row per image, one column per panel and a caption under each image."""

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
from ..report.plots import DPI, GRID_COLOUR, TEXT_COLOUR
from ..storage.atomic import atomic_write

# Lengths are in pixels of the PNG.
IMAGE_SIDE = 192  # a multiple of 32, 64 and 96
GAP, MARGIN = 28, 30
POINTS_PER_PIXEL = 72 / DPI


def save_grid(
    panels: Sequence[Panel], title: str, file: Path, *, row_labels: Sequence[str] = (), footer: str = ""
) -> None:
    """Write a PNG with one row per image, one column per panel and a caption under each image."""
    from matplotlib.figure import Figure

    images_of = [displayable_images(panel.images) for panel in panels]
    widths = [round(IMAGE_SIDE * min(4.0, images.shape[2] / images.shape[1])) for images in images_of]
    labels = [WrappedText(row, 8.5, IMAGE_SIDE) for row in row_labels]
    first = MARGIN + max((label.width + GAP // 2 for label in labels), default=0)
    lefts = [first + sum(widths[:n]) + n * GAP for n in range(len(panels))]
    width = max(3 * (IMAGE_SIDE + GAP), lefts[-1] + widths[-1] + MARGIN)

    titles = [
        WrappedText(panel.title, 10, side + GAP // 2, bold=True) for panel, side in zip(panels, widths, strict=True)
    ]
    captions = [
        [WrappedText(caption, 8.5, side + GAP // 2) for caption in panel.captions]
        or [WrappedText("", 8.5, side)] * len(images)
        for panel, side, images in zip(panels, widths, images_of, strict=True)
    ]
    above = WrappedText(title, 12, width - 2 * MARGIN, bold=True)
    below = WrappedText(footer, 7.5, width - 2 * MARGIN)
    tops = [MARGIN + above.height + 16 + max(heading.height for heading in titles) + 10]
    for row in zip(*captions, strict=True):
        tops.append(tops[-1] + IMAGE_SIDE + 8 + max(caption.height for caption in row) + 18)
    height = tops[-1] + 6 + below.height + MARGIN // 2

    # pyplot would keep the figure in memory and open a display.
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(text: WrappedText, x: float, y: float, **style: Any) -> None:
        properties: dict[str, Any] = {"ha": "left", "va": "top", "color": TEXT_COLOUR, "fontsize": text.size} | style
        weight = "bold" if text.bold else "normal"
        for n, line in enumerate(text.lines):
            y_line = 1 - (y + n * text.leading) / height
            figure.text(x / width, y_line, line, fontweight=weight, parse_math=False, **properties)

    write(above, MARGIN, MARGIN)
    for images, side, left, heading, column in zip(images_of, widths, lefts, titles, captions, strict=True):
        write(heading, left + side / 2, tops[0] - 10 - heading.height, ha="center")
        for image, caption, top in zip(images, column, tops, strict=False):
            axes = figure.add_axes((left / width, 1 - (top + IMAGE_SIDE) / height, side / width, IMAGE_SIDE / height))
            small = image.shape[0] <= IMAGE_SIDE
            axes.imshow(image, interpolation="nearest" if small else "antialiased")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=GRID_COLOUR, linewidth=0.8)
            write(caption, left + side / 2, top + IMAGE_SIDE + 8, ha="center")
    for label, top in zip(labels, tops, strict=False):
        write(label, MARGIN, top + (IMAGE_SIDE - label.height) / 2)
    write(below, MARGIN, tops[-1] + 6, color="#777777")
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    atomic_write(file, content.getvalue())


class WrappedText:
    """A text broken into lines of at most ``width`` pixels; only a longer word gives a longer line.

    Lines are not broken at no-break spaces.
    """

    def __init__(self, text: str, size: float, width: float, *, bold: bool = False) -> None:
        self.size, self.bold = size, bold  # size in points
        self.leading = 1.35 * size / POINTS_PER_PIXEL
        self.lines: list[str] = []
        for part in text.splitlines():
            line = ""
            for word in part.split(" "):
                longer = f"{line} {word}".strip(" ")
                if line and text_width(longer, size, bold) > width:
                    self.lines.append(line)
                    longer = word
                line = longer
            self.lines.append(line)

    @property
    def width(self) -> float:
        """The width of the longest line in pixels."""
        return max((text_width(line, self.size, self.bold) for line in self.lines), default=0)

    @property
    def height(self) -> float:
        """The height of all lines in pixels."""
        return self.leading * len(self.lines)


@cache
def text_width(text: str, size: float, bold: bool) -> float:
    """The width of a line of text in pixels; ``size`` is in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / POINTS_PER_PIXEL


def displayable_images(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W), uint8 or floats in [0, 1] -> arrays (N, H, W, 3) for matplotlib."""
    images = images.detach().cpu().movedim(1, -1)
    return (images if images.dtype == torch.uint8 else images.float().clamp(0, 1)).numpy()
