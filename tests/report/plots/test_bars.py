"""The figure of a table: the limits of its axes, and the source code of a protocol's own figure."""

from __future__ import annotations

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.report.plots.bars import draw_bars, source_code_of
from sslbench.bench.report.tables import build_tables
from sslbench.protocols.fewlabels import FewLabels
from tests.records.builders import accuracy_record


def test_every_panel_reaches_to_its_ceiling() -> None:
    """A ceiling that exceeds all bars at one tap is inside that tap's panel, and no axis exceeds 100 %."""
    accuracies = {"supervised": (0.5, 0.97), "rotnet": (0.4, 0.3), "moco": (0.3, 0.2)}
    group = [accuracy_record(method, 0, *of_taps) for method, of_taps in accuracies.items()]
    (table,) = build_tables([group], (), {}, {})
    left, right = draw_bars(table).axes
    assert 97 < right.get_xlim()[1] <= 100
    assert left.get_xlim() == right.get_xlim()


def test_the_source_code_of_a_plot_includes_its_helpers() -> None:
    """A change in the module that a protocol draws with is part of the content, so the figure is drawn again."""
    assert (ROOT / "protocols" / "_curve.py").read_text(encoding="utf-8") in source_code_of(FewLabels.plot)
