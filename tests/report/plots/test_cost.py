"""The figure of accuracy against cost: the Pareto front, the axis, and the names of points."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from sslbench.bench.report.plots import styled_figure
from sslbench.bench.report.plots.cost import costs_to_show, draw_costs, pareto_front, set_cost_axis
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record

from .figures import inside, problems_of


def test_the_pareto_front_of_six_points() -> None:
    """Of equal costs the better value is on the front, of equal values the cheaper one."""
    assert pareto_front([(3, 0.5), (1, 0.4), (2, 0.4), (1, 0.3), (4, 0.9), (5, 0.8)]) == [(1, 0.4), (3, 0.5), (4, 0.9)]


@pytest.mark.parametrize(
    ("changes", "costs"),
    [
        ({}, ["flops", "seconds"]),
        ({"threads": 1}, ["flops"]),
        ({"threads": None}, ["flops"]),
        ({"device": "another processor"}, ["flops"]),
        ({"precision": "bf16"}, ["flops"]),
    ],
)
def test_seconds_are_shown_within_one_machine_only(changes: dict[str, Any], costs: list[str]) -> None:
    """FLOPs always have a panel and a front. Seconds need one known device, precision and number of threads."""
    records = [
        accuracy_record(
            method,
            0,
            0.5,
            0.5 + place / 10,
            cost={"pretrain_flops": 10.0**place, "pretrain_seconds": 60.0},
            source={"device": "a processor", "precision": "fp32", "threads": 2} | (changes if place else {}),
        )
        for place, method in enumerate(("rotnet", "moco"))
    ]
    (table,) = build_tables([records], (), {}, {})
    assert costs_to_show(table) == costs
    figure = draw_costs(table, table.rows)
    assert len(figure.axes) == len(costs)
    fronts = [axes.get_legend_handles_labels()[1].count("Pareto front") for axes in figure.axes]
    assert fronts == [1, 0][: len(costs)]
    assert figure.axes[0].get_ylabel() == "accuracy (%) at conv5"


def test_names_of_a_crowd_are_inside_and_apart() -> None:
    """Twenty methods of nearly the same cost and accuracy: each has its name, and none covers another."""
    records = [
        accuracy_record(
            f"method_{place:02}", 0, 0.5, 0.5 + 0.01 * (place % 7), cost={"pretrain_flops": 1e12 + 1e10 * place}
        )
        for place in range(20)
    ]
    (table,) = build_tables([records], (), {}, {})
    figure = styled_figure(lambda: draw_costs(table, table.rows))
    assert problems_of(figure) == []
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == [f"method_{place:02}" for place in range(20)]
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert all(inside(Text.get_window_extent(text, renderer), axes.get_window_extent()) for text in axes.texts)


@pytest.mark.parametrize(("least", "most"), [(1e12, 1.01e12), (2e13, 6e13), (1e9, 3e10), (1e9, 1e15)])
def test_a_cost_axis_has_two_to_eight_numbers(least: float, most: float) -> None:
    """Whatever the costs are."""
    axes = Figure().subplots()
    set_cost_axis(axes, least, most)
    low, high = axes.get_xlim()
    assert low < least < most < high
    assert 2 <= len([tick for tick in axes.get_xticks() if low <= tick <= high]) <= 8
