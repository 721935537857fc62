"""The figure of mean ranks: which methods a bar joins."""

from __future__ import annotations

from sslbench.bench.report.plots.ranks import find_cliques


def test_bars_join_ranks_within_the_critical_difference() -> None:
    """Only the longest runs are joined, none inside another, and no bar joins a single method."""
    assert find_cliques([1.0, 1.5, 2.4, 4.0], 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert find_cliques([1, 2, 3], 5) == [(1, 3)]
    assert find_cliques([1, 3], 1) == []
