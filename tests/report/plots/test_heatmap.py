"""The heat map: the same numbers as in tables, and colours within each column."""

from __future__ import annotations

import math

import pytest

from sslbench.bench.records.measurement import Measurement
from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.overview import Overview, build_overviews
from sslbench.bench.report.plots import styled_figure
from sslbench.bench.report.plots.heatmap import draw_heat_map, luminance, shades
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record, fraction

from .figures import problems_of


@pytest.fixture(scope="module")
def overview() -> Overview:
    """Two methods by an accuracy and an error in pixels, the second without a number of one method."""
    records = []
    for name, accuracy, error in (("rotnet", 0.4845, 3.0), ("moco", 0.7645, 2.0), ("byol", 0.5, None)):
        records.append(accuracy_record(name, 0, 0, 0, measurements=(fraction(tap="conv5", value=accuracy),)))
        if error is not None:
            found = Measurement(metric="error", tap="conv5", value=error, unit="px", higher_is_better=False)
            records.append(accuracy_record(name, 0, 0, 0, measurements=(found,), cell={"protocol": "edges"}))
    (made,) = build_overviews(build_tables(group_comparable(records), (), {}, {}))
    return made


def test_fields_have_the_numbers_of_tables(overview: Overview) -> None:
    """Half a unit is rounded up, as in tables: 48.45 % is 48.5, not 48.4; nothing is written without a number."""
    figure = styled_figure(lambda: draw_heat_map(overview))
    (axes,) = figure.axes
    written = {
        (round(x - 0.5), round(y - 0.5)): text.get_text() for text in axes.texts for x, y in [text.get_position()]
    }
    headings = [text.get_text() for text in axes.get_xticklabels()]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    error = next(place for place, heading in enumerate(headings) if heading.startswith("edges"))
    assert headings[1 - error].split() == ["linear", "conv5", "accuracy", "(%)"]
    assert headings[error].split() == ["edges", "conv5", "error", "(px)", "lower", "is", "better"]
    at = {name: place for place, name in enumerate(rows)}
    assert written[1 - error, at["rotnet"]] == "48.5"
    assert written[1 - error, at["moco"]] == "76.5"
    assert written[error, at["moco"]] == "2.000"
    assert written.get((error, at["byol"]), "") == ""
    assert problems_of(figure) == []


def test_the_best_of_each_column_is_light(overview: Overview) -> None:
    """1 is the highest accuracy and the lowest error."""
    shaded = dict(zip(overview.labels, shades(overview).tolist(), strict=True))
    assert shaded["moco"] == [1, 1]
    error = [column.heading for column in overview.columns].index("edges")
    assert shaded["rotnet"] == [0, 0]
    assert math.isnan(shaded["byol"][error])


def test_luminance_of_white_grey_and_red() -> None:
    """The values of WCAG 2: 1 for white, 0.2140 for middle grey, 0.2126 for red."""
    assert [round(luminance(c), 4) for c in ((1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0))] == [1, 0.214, 0.2126]
