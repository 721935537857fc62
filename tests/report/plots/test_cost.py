"""The figure of accuracy against cost: which points are on the Pareto front."""

from __future__ import annotations

from sslbench.bench.report.plots.cost import pareto_front


def test_the_pareto_front_of_six_points() -> None:
    """Of equal costs the better value is on the front, of equal values the cheaper one."""
    assert pareto_front([(3, 0.5), (1, 0.4), (2, 0.4), (1, 0.3), (4, 0.9), (5, 0.8)]) == [(1, 0.4), (3, 0.5), (4, 0.9)]
