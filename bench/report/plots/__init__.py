"""Figures of a report: what all of them share.

Each other file of this package draws one kind of figure from records. This one holds their common style, in colours
that colour-blind readers can tell apart, and writes a figure only when its content has changed. Figures are as wide as
a column of a paper, where their text has 6 to 8 points; a slide shows them enlarged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...storage.atomic import atomic_write
from ...storage.hashing import fingerprint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..tables import Table

STYLE_VERSION = 3
"""Increase it when figures should look different, so that existing files are drawn again."""

DPI = 150  # at least; narrow figures get more
PIXELS = 1000  # the least width of a PNG file
COLUMN_WIDTH = 3.4  # inches, of a paper with two columns
PADDING = 0.05  # inches around a figure
TEXT_SIZE, SMALL_TEXT = 7, 6.5  # points
CHARACTER_WIDTH = 0.54  # of the mean character, as a share of the text's size
TEXT_COLOUR = "#333333"
GRID_COLOUR = "#dddddd"
REFERENCE_STYLES = {"floor": ("#555555", "--"), "ceiling": ("#000000", "-."), "chance": ("#777777", ":")}
"""Colour and dashes of the lines that methods are compared with."""


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
    with figure_style():
        figure = styled_figure(draw)
        return [encode_png(figure, digest) if ending == "png" else encode_svg(figure, digest) for ending in formats]


def encode_svg(figure: Figure, digest: str) -> bytes:
    """A figure as SVG, whose metadata contain the digest."""
    content = BytesIO()
    metadata = {"Description": f"data {digest}", "Date": None}
    figure.savefig(content, format="svg", metadata=metadata, bbox_inches="tight", pad_inches=PADDING)
    return content.getvalue()


def encode_png(figure: Figure, digest: str) -> bytes:
    """A figure as PNG, whose metadata contain the digest; with 256 colours, so that the file is small."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    content, smaller, dpi, metadata = BytesIO(), BytesIO(), image_dpi(figure), PngInfo()
    metadata.add_text("Description", f"data {digest}")
    figure.savefig(content, format="png", dpi=dpi, bbox_inches="tight", pad_inches=PADDING)
    with Image.open(content) as image:
        few_colours = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few_colours.save(smaller, format="png", optimize=True, pnginfo=metadata, dpi=(dpi, dpi))
    return smaller.getvalue()


def image_dpi(figure: Figure) -> float:
    """Pixels per inch of a figure's PNG file, so that a page can show a narrow figure at its full width."""
    return float(max(DPI, round(PIXELS / figure.get_figwidth())))


def styled_figure(draw: Callable[[], Figure]) -> Figure:
    """What ``draw`` returns, in the style of all figures and with its layout computed."""
    with figure_style():
        figure = draw()
        # Without this each format would compute its own layout, which depends on the format before it.
        apply_layout(figure)
        figure.set_layout_engine("none")
    return figure


@contextmanager
def figure_style() -> Iterator[None]:
    """A context within which matplotlib draws in the style of all figures."""
    import matplotlib as mpl
    import seaborn as sns

    style: dict[Any, Any] = {
        "svg.hashsalt": "sslbench",
        "font.size": TEXT_SIZE,
        "axes.titlesize": TEXT_SIZE,
        "axes.titleweight": "bold",
        "axes.labelsize": TEXT_SIZE,
        "axes.linewidth": 0.6,
        "xtick.labelsize": SMALL_TEXT,
        "ytick.labelsize": SMALL_TEXT,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "legend.fontsize": SMALL_TEXT,
        "legend.title_fontsize": SMALL_TEXT,
        "text.color": TEXT_COLOUR,
    }
    with sns.axes_style("white"), mpl.rc_context(style):
        yield


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


def set_panel_height(figure: Figure, height: float) -> None:
    """Change the height of a figure so that its axes, which share one row, are so many inches high."""
    apply_layout(figure)
    used = figure.axes[0].get_position().height * figure.get_figheight()
    figure.set_figheight(figure.get_figheight() - used + height)


def add_title(figure: Figure, text: str, size: float = 8) -> None:
    """Add a title at the left, broken into lines that fit the figure; the size is in points."""
    figure.suptitle(wrap_text(text, figure.get_figwidth(), size), x=0.01, ha="left", fontsize=size)


def wrap_text(text: str, width: float, size: float = TEXT_SIZE) -> str:
    """Text in lines of at most so many inches; a longer word gets a line of its own."""
    import textwrap

    characters = max(8, int(width * 72 / (CHARACTER_WIDTH * size)))
    return textwrap.fill(text, characters, break_long_words=False, break_on_hyphens=False)


def axis_label(table: Table, tap: str, width: float) -> str:
    """Metric, tap and number of labels of a table's values, in lines of at most so many inches."""
    labels = number_of_labels(table, tap)
    parts = [table.heading, f"at {tap}" + ("," if labels else ""), f"{labels:,} labels" if labels else ""]
    whole = wrap_text(" ".join(filter(None, parts)), width)
    return whole if "\n" not in whole else "\n".join(wrap_text(part, width) for part in parts if part)


def number_of_labels(table: Table, tap: str) -> int:
    """The number of labelled images that an accuracy was measured with; 0 where records do not say it."""
    if "accuracy" not in table.metric:
        return 0
    for record in table.records:
        for found in record.measurements:
            if (found.metric, found.tap) == (table.metric, tap):
                return int((found.details or {}).get("labelled") or record.card.get("train_images") or 0)
    return 0


def add_grid_lines(axes: Axes, axis: str) -> None:
    """Draw light grid lines behind the data and remove the frame."""
    import seaborn as sns

    axes.grid(axis=axis, color=GRID_COLOUR, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=axis == "x")


def add_legend(figure: Figure, panels: Iterable[Axes], interval: str = "") -> None:
    """Add what colours, markers and lines mean below the panels, in as many columns as fit.

    Kinds of learning come first; ``interval`` names the lines through the points.
    """
    from matplotlib.lines import Line2D

    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if interval:
        handles[interval] = Line2D([], [], color=TEXT_COLOUR, linewidth=0.9)
    names = [*sorted(name for name in handles if name.startswith("images")), *handles]
    handles = {name: handles[name] for name in names}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", frameon=False, fontsize=SMALL_TEXT,
        ncols=legend_columns(list(handles), figure.get_figwidth()),
        handlelength=1.6, columnspacing=1.0, handletextpad=0.5, labelspacing=0.3, borderpad=0.1,
    )  # fmt: skip


def legend_columns(names: Sequence[str], width: float) -> int:
    """The most columns in which a legend with these names is at most so many inches wide."""
    for columns in range(len(names), 1, -1):
        lines = math.ceil(len(names) / columns)
        longest = [max(map(len, names[place : place + lines])) for place in range(0, len(names), lines)]
        if sum(longest) * CHARACTER_WIDTH * SMALL_TEXT / 72 + 0.33 * len(longest) <= width:
            return columns
    return 1
