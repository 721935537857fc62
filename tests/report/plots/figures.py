"""What must hold in every figure: named axes, at least two numbers on each, and no text that covers another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

NUMBER = re.compile(r"[−-]?[\d,.]+")  # in front of a prefix of the unit, such as T


def problems_of(figure: Figure) -> list[str]:
    """What is wrong with a figure whose layout was computed; empty if nothing is."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # places legends, and writes the numbers of the axes
    renderer = canvas.get_renderer()
    boxes = [line for text in texts_of(figure) for line in lines_of(text, renderer)]
    edges = figure.bbox.padded(2)
    found = [f"{text!r} is outside" for text, box in boxes if not inside(box, edges)]
    found += [f"{a!r} covers {b!r}" for (a, one), (b, other) in combinations(boxes, 2) if covers(one, other)]
    for axes in figure.axes:
        if axes.axison:
            found += [problem for axis in (axes.xaxis, axes.yaxis) for problem in axis_problems(axes, axis)]
    return found


def axis_problems(axes: Axes, axis: Axis) -> Iterator[str]:
    """An axis of numbers has a label and at least two numbers; one of names needs neither, nor one that is shared."""
    labels = [text.get_text() for text in tick_labels(axes, axis)]
    numeric = all(NUMBER.fullmatch(label.split()[0]) for label in labels)
    if not labels or (axis.axis_name == "y" and not numeric):
        return
    if not axis.get_label_text():
        yield f"{axes.get_title()!r}: the {axis.axis_name} axis has no label"
    if len(labels) < 2:
        yield f"{axes.get_title()!r}: the {axis.axis_name} axis has the numbers {labels}"


def lines_of(text: Text, renderer: RendererAgg) -> Iterator[tuple[str, Bbox]]:
    """Each line of a text that is not empty, with its box in pixels; what an arrow covers does not count."""
    box, lines = Text.get_window_extent(text, renderer), text.get_text().split("\n")
    if len(lines) == 1 or text.get_rotation():
        yield text.get_text(), box
        return
    place = {"left": 0.0, "center": 0.5, "right": 1.0}[text.get_horizontalalignment()]
    height = box.height / len(lines)
    for above, line in enumerate(lines):
        if line.strip():
            path = TextPath((0, 0), line, prop=text.get_fontproperties())
            width = path.get_extents().width * renderer.points_to_pixels(1)
            yield (
                line,
                Bbox.from_bounds(box.x0 + place * (box.width - width), box.y1 - height * (above + 1), width, height),
            )


def tick_labels(axes: Axes, axis: Axis) -> list[Text]:
    """The labels of an axis that are drawn."""
    low, high = sorted(axes.get_xlim() if axis.axis_name == "x" else axes.get_ylim())
    shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label for tick in shown for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible() and label.get_text()]


def texts_of(figure: Figure) -> list[Text]:
    """All texts that are drawn."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += axes.texts
        if axes.axison:
            texts += [axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
            texts += [*tick_labels(axes, axes.xaxis), *tick_labels(axes, axes.yaxis)]
        if legend := axes.get_legend():
            texts += legend.get_texts()
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def inside(box: Bbox, edges: Bbox) -> bool:
    """Whether a box is inside another."""
    return bool(edges.x0 <= box.x0 and edges.y0 <= box.y0 and box.x1 <= edges.x1 and box.y1 <= edges.y1)


def covers(one: Bbox, other: Bbox, tolerance: float = 1.0) -> bool:
    """Whether two boxes share more than a line of pixels."""
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(wide > tolerance and high > tolerance)
