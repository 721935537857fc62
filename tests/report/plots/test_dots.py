"""The figure of a table: its order, the ends of its axes, the lines it compares with, and published numbers."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.report.plots import number_of_labels, styled_figure
from sslbench.bench.report.plots.dots import draw_dots, source_code_of
from sslbench.bench.report.plots.kinds import MARKS, kind_name, marks_of
from sslbench.bench.report.tables import Table, build_tables
from sslbench.protocols.fewlabels import FewLabels
from tests.records.builders import accuracy_record, failed_record, fraction

from .figures import problems_of


def table_of(accuracies: dict[str, tuple[float, float]], **changes: Any) -> Table:
    """A table of methods with their accuracies at conv4 and conv5."""
    (table,) = build_tables(
        [[accuracy_record(name, 0, *both, **changes) for name, both in accuracies.items()]], (), {}, {}
    )
    return table


def names_of(axes: Axes) -> list[str]:
    """The methods from top to bottom."""
    return [text.get_text() for text in axes.get_yticklabels()]


def texts_in(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lines_in(axes: Axes) -> dict[str, float]:
    """The vertical lines that have a name, and where they are."""
    return {str(line.get_label()): line.get_xdata()[0] for line in axes.lines if ":" in str(line.get_label())}


def figure_of(table: Table) -> Figure:
    """The figure, after the checks that every figure passes."""
    figure = styled_figure(lambda: draw_dots(table))
    assert problems_of(figure) == []
    return figure


ACCURACIES = {
    "supervised": (0.5, 0.97),
    "moco": (0.3, 0.2),
    "rotnet": (0.4, 0.3),
    "byol": (0.5, 0.1),
    "random": (0.12, 0.05),
}


def test_the_best_method_is_at_the_top_of_all_panels() -> None:
    """Rows follow the last tap; floor and ceiling are lines with a label, and their values are those of the tap."""
    conv4, conv5 = figure_of(table_of(ACCURACIES)).axes[:2]
    assert names_of(conv4) == ["rotnet", "moco", "byol"]
    assert conv4.get_ylim()[0] > conv4.get_ylim()[1], "the first row is at the top"
    assert lines_in(conv4) == pytest.approx({"ceiling: supervised": 50, "floor: random": 12})
    assert lines_in(conv5) == pytest.approx({"ceiling: supervised": 97, "floor: random": 5})
    assert texts_in(conv4) == texts_in(conv5) == ["ceiling", "floor"]
    assert conv4.get_xlabel() == "accuracy (%)\nat conv4"
    assert conv4.get_xlim() == conv5.get_xlim()
    assert 97 < conv5.get_xlim()[1] <= 100


def test_chance_is_a_line_where_it_is_near_and_an_arrow_where_it_is_far() -> None:
    """Far is more than half the span of the others away; the arrow says the value."""
    near = figure_of(with_chance({"rotnet": 0.5, "moco": 0.2}, 0.1)).axes[0]
    assert texts_in(near) == ["chance"]
    assert near.get_xlim()[0] < 10
    far = figure_of(with_chance({"rotnet": 0.68, "moco": 0.66}, 0.1)).axes[0]
    assert texts_in(far) == ["← chance 10.0"]
    assert far.get_xlim()[0] > 60
    alone = figure_of(with_chance({"rotnet": 0.68}, 0.1)).axes[0]
    assert texts_in(alone) == ["chance"]


def with_chance(means: dict[str, float], chance: float, **fields: Any) -> Table:
    """A table with one tap and a chance level."""
    records = [
        accuracy_record(name, 0, 0, 0, measurements=(fraction(tap="conv5", value=mean, chance=chance, **fields),))
        for name, mean in means.items()
    ]
    (table,) = build_tables([records], (), {}, {})
    return table


def test_a_metric_in_pixels_that_is_better_when_lower() -> None:
    """Values are not multiplied by 100, the lowest is at the top, and chance is at the right."""
    errors = {"rotnet": 2.5, "moco": 2.25}
    records = [accuracy_record(name, 0, 0, 0, measurements=(error_of(value),)) for name, value in errors.items()]
    (table,) = build_tables([records], (), {"linear": "error"}, {})
    (axes,) = figure_of(table).axes
    assert names_of(axes) == ["moco", "rotnet"]
    assert texts_in(axes) == ["chance 40.000 →"]
    assert axes.get_xlim()[1] < 3
    assert axes.get_xlabel() == "error (px), lower is better at conv5"


def error_of(value: float) -> Measurement:
    """A measurement in pixels."""
    return Measurement(metric="error", tap="conv5", value=value, unit="px", higher_is_better=False, chance=40.0)


def test_published_numbers_are_on_an_axis_of_their_own() -> None:
    """Their panel names data, encoder and classifier; the panels of measured numbers have none of them."""
    table = table_of({"rotnet": (0.9, 0.92), "moco": (0.8, 0.85), "jigsaw": (0.7, 0.75)})
    conv4, conv5, published = figure_of(table).axes
    title = published.get_title("right").replace("\n", " ")
    assert title == "published: ImageNet-1k, AlexNet, non-linear classifier"
    assert published.get_xlabel().startswith("accuracy (%)\npublished\nat conv4, conv5")
    shown = {tuple(sorted(map(round, line.get_xdata()))) for line in published.lines}
    assert shown == {(35, 44), (45, 50)}
    assert published.get_xlim()[1] < 60 < conv4.get_xlim()[0]
    assert not [name for axes in (conv4, conv5) for name in legend_names(axes) if "published" in name]


def test_a_smoke_run_shows_no_published_numbers() -> None:
    """Its few training steps are far from any paper's."""
    table = table_of({"rotnet": (0.9, 0.92), "jigsaw": (0.7, 0.75)}, cell={"preset": "smoke"})
    assert [axes.get_title() for axes in figure_of(table).axes] == ["conv4", "conv5"]


def legend_names(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def test_colour_and_marker_are_what_a_method_learns_from() -> None:
    """Clips, captions and depth have marks of their own, named in the legend; a failed method is named too."""
    records = [accuracy_record(name, 0, 0.5, 0.5) for name in ("rotnet", "clip", "depth", "tracking")]
    failed = failed_record("byol", 0, "out of memory", card=records[0].card)
    (table,) = build_tables([[*records, failed]], (), {}, {})
    figure = figure_of(table)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:4] == ["images", "images + captions", "images + clips", "images + depth"]
    assert legend[-1] == "95 % interval"
    assert texts_in(figure.axes[0]) == ["failed"]
    assert names_of(figure.axes[0])[-1] == "byol"


def test_kinds_have_different_marks() -> None:
    """Common kinds have the same marks in all figures; rare ones get one of their own."""
    assert len({mark.colour for mark in MARKS.values()}) == len({mark.marker for mark in MARKS.values()}) == len(MARKS)
    some = marks_of(["images and masks", "images", "images and captions"])
    assert list(some) == ["images", "images and captions", "images and masks"]
    assert len({mark.marker for mark in some.values()}) == 3
    kinds = ["images", "images and captions", "images, captions and labels", "unknown"]
    names = ["images", "images + captions", "images + captions and labels", "not known"]
    assert [kind_name(kind) for kind in kinds] == names


def test_an_axis_names_the_number_of_labels() -> None:
    """It is that of the labelled subset if there is one, and else of all train images."""
    assert (
        number_of_labels(table_of(ACCURACIES, card={"taps": ["conv4", "conv5"], "train_images": 5000}), "conv5") == 5000
    )
    subset = with_chance({"rotnet": 0.5, "moco": 0.4}, 0.1, details={"labelled": 200})
    assert number_of_labels(subset, "conv5") == 200
    assert figure_of(subset).axes[0].get_xlabel() == "accuracy (%)\nat conv5,\n200 labels"
    assert number_of_labels(table_of(ACCURACIES), "conv5") == 0


def test_long_names_and_many_taps_widen_the_figure() -> None:
    """No text covers another."""
    taps = [f"conv{place}" for place in range(1, 6)]
    records = [
        accuracy_record(
            name,
            0,
            0,
            0,
            measurements=tuple(fraction(tap=tap, value=mean) for tap in taps),
            cell={"variant": "0,45,90,135"},
        )
        for name, mean in (("a_method_with_a_long_name", 0.5), ("rotnet", 0.4))
    ]
    (table,) = build_tables([records], (), {}, {})
    figure = figure_of(table)
    assert [axes.get_title() for axes in figure.axes] == taps
    assert 5 < figure.get_figwidth() < 8


def test_the_source_code_of_a_plot_includes_its_helpers() -> None:
    """A change in the module that a protocol draws with is part of the content, so the figure is drawn again."""
    assert (ROOT / "protocols" / "_curve.py").read_text(encoding="utf-8") in source_code_of(FewLabels.plot)
