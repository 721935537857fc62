"""The figure of mean ranks: which methods a bar joins, and that its texts are apart."""

from __future__ import annotations

from sslbench.bench.report.groups import group_comparable
from sslbench.bench.report.overview import build_overviews
from sslbench.bench.report.plots import COLUMN_WIDTH, styled_figure
from sslbench.bench.report.plots.ranks import draw_ranks, find_cliques
from sslbench.bench.report.tables import build_tables
from tests.records.builders import accuracy_record

from .figures import problems_of


def test_bars_join_ranks_within_the_critical_difference() -> None:
    """Only the longest runs are joined, none inside another, and no bar joins a single method."""
    assert find_cliques([1.0, 1.5, 2.4, 4.0], 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert find_cliques([1, 2, 3], 5) == [(1, 3)]
    assert find_cliques([1, 3], 1) == []


def test_the_figure_of_ranks_can_be_read() -> None:
    """Nine methods, each named with its mean rank in the width of a column; no text covers another."""
    records = [
        accuracy_record(
            f"method_{place}", 0, 0.9 - 0.03 * place, 0.8 - 0.02 * (place + place % 3), cell={"protocol": protocol}
        )
        for place in range(9)
        for protocol in ("knn", "linear")
    ]
    (overview,) = build_overviews(build_tables(group_comparable(records), (), {}, {}))
    figure = styled_figure(lambda: draw_ranks(overview))
    assert problems_of(figure) == []
    assert figure.get_figwidth() == COLUMN_WIDTH
    written = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert all(f"{overview.mean_ranks[f'method_{place}']:.2f}" in written for place in range(9))
