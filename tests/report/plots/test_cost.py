"""The figure of accuracy against cost: which points are on the Pareto front."""

from __future__ import annotations

from typing import Any

import pytest

from sslbench.bench.report.plots.cost import costs_to_show, draw_costs, pareto_front
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record


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
    assert len(figure.axes) == len(table.taps) * len(costs)
    fronts = [axes.get_legend_handles_labels()[1].count("Pareto front") for axes in figure.axes]
    assert fronts == [1, 0] * 2 if "seconds" in costs else [1] * 2
