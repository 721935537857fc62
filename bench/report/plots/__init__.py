"""Figures of a report: what all of them share.

Each other file of this package draws one kind of figure from records. This one holds their common style, in colours
that colour-blind readers can tell apart, and writes a figure only when its content has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...storage.atomic import atomic_write
from ...storage.hashing import fingerprint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE_VERSION = 2
"""Increase it when figures should look different, so that existing files are drawn again."""

DPI = 150
TEXT_COLOUR = "#333333"
GRID_COLOUR = "#dddddd"


def save_figure(
    name: str, content: Any, draw: Callable[[], Figure], folder: Path, formats: Collection[str]
) -> list[Path]:
    """Write a figure as PNG and SVG unless the existing files have the same content; returns the paths.

    ``content`` is everything that the figure depends on, as values that JSON can hold.
    """
    paths = [folder / f"{name}.{ending}" for ending in ("png", "svg") if ending in formats]
    digest = fingerprint([STYLE_VERSION, name, content])
    # Drawing takes seconds, mostly for imports. The digest in a file's metadata says what it shows.
    if not all(path.exists() and digest.encode() in path.read_bytes() for path in paths):
        for path, image in zip(paths, encode_figure(draw, digest, [path.suffix[1:] for path in paths]), strict=True):
            atomic_write(path, image)
    return paths


def encode_figure(draw: Callable[[], Figure], digest: str, formats: Collection[str]) -> list[bytes]:
    """The figure in each format; the same numbers give the same bytes."""
    import matplotlib as mpl
    import seaborn as sns

    style: dict[Any, Any] = {
        "svg.hashsalt": "sslbench",
        "font.size": 10,
        "axes.titleweight": "bold",
        "text.color": TEXT_COLOUR,
    }
    contents = []
    with sns.axes_style("white"), mpl.rc_context(style):
        figure = draw()
        # Without this each format would compute its own layout, which depends on the format before it.
        apply_layout(figure)
        figure.set_layout_engine("none")
        for ending in formats:
            content = BytesIO()
            metadata = {"Description": f"data {digest}"} | ({"Date": None} if ending == "svg" else {"Software": None})
            figure.savefig(content, format=ending, dpi=DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.15)
            contents.append(content.getvalue())
    return contents


def empty_figure(width: float, height: float) -> Figure:
    """A figure without axes; width and height in inches."""
    from matplotlib.figure import Figure

    # pyplot would keep the figure in memory and open a display.
    return Figure(figsize=(width, height), layout="constrained")


def apply_layout(figure: Figure) -> None:
    """Place the axes, so that data coordinates can be converted to pixels."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


def add_title(figure: Figure, text: str) -> None:
    """Add a title at the left, broken into lines that fit the figure."""
    import textwrap

    figure.suptitle(textwrap.fill(text, max(30, int(figure.get_figwidth() * 8.5))), x=0.01, ha="left", fontsize=12)


def add_grid_lines(axes: Axes, axis: str) -> None:
    """Draw light grid lines behind the data and remove the frame."""
    import seaborn as sns

    axes.grid(axis=axis, color=GRID_COLOUR, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=axis == "x")
