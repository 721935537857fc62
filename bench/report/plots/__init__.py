"""Figures from records alone, all of one look that a colour-blind reader can read too.

One file = one figure: it draws; how it looks, and whether it must be drawn at all, is settled here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...storage.atomic import write_whole
from ...storage.hashing import fingerprint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK = 2
"""Counts up when figures are to look different, so that old ones are drawn anew."""

DPI = 150
TEXT = "#333333"
GRID = "#dddddd"


def save(name: str, shows: Any, draw: Callable[[], Figure], folder: Path, formats: Collection[str]) -> list[Path]:
    """Writes a figure as PNG and SVG unless those there show the same; returns the paths.

    ``shows`` is all that the figure depends on, as JSON can hold it.
    """
    paths = [folder / f"{name}.{ending}" for ending in ("png", "svg") if ending in formats]
    digest = fingerprint([LOOK, name, shows])
    # Drawing costs seconds, most of them imports; a figure carries the digest of what it shows.
    if not all(path.exists() and digest.encode() in path.read_bytes() for path in paths):
        for path, content in zip(paths, pictures(draw, digest, [path.suffix[1:] for path in paths]), strict=True):
            write_whole(path, content)
    return paths


def pictures(draw: Callable[[], Figure], digest: str, formats: Collection[str]) -> list[bytes]:
    """The figure in each format, the same bytes for the same numbers."""
    import matplotlib as mpl
    import seaborn as sns

    look: dict[Any, Any] = {"svg.hashsalt": "sslbench", "font.size": 10, "axes.titleweight": "bold", "text.color": TEXT}
    contents = []
    with sns.axes_style("white"), mpl.rc_context(look):
        figure = draw()
        # Each format would lay it out anew, and what it looks like would depend on the one before.
        settle(figure)
        figure.set_layout_engine("none")
        for ending in formats:
            content = BytesIO()
            metadata = {"Description": f"data {digest}"} | ({"Date": None} if ending == "svg" else {"Software": None})
            figure.savefig(content, format=ending, dpi=DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.15)
            contents.append(content.getvalue())
    return contents


def canvas(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    # Not through pyplot, which would keep the figure and choose a screen to show it on.
    return Figure(figsize=(width, height), layout="constrained")


def settle(figure: Figure) -> None:
    """Gives the axes their places, so that data coordinates lie where they are drawn."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


def title(figure: Figure, text: str) -> None:
    """A heading at the left, broken into lines that fit the figure."""
    import textwrap

    figure.suptitle(textwrap.fill(text, max(30, int(figure.get_figwidth() * 8.5))), x=0.01, ha="left", fontsize=12)


def ruled(axes: Axes, axis: str) -> None:
    """Light lines behind the data, and no frame but the axes."""
    import seaborn as sns

    axes.grid(axis=axis, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=axis == "x")
