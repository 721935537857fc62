"""The table of a protocol with several metrics: what is printed, in which order, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.records.comparable import CEILING, FLOOR
from sslbench.bench.records.measurement import Measurement
from sslbench.bench.records.record import Record
from sslbench.bench.report.render import Report, write_report
from sslbench.protocols.depth_probe import DepthProbe
from sslbench.protocols.edges import Edges
from sslbench.protocols.multilabel import MultiLabel
from tests.records.builders import accuracy_record, failed_record


def depth_record(method: str, errors: tuple[float, float], shares: tuple[float, float], **changes: str) -> Record:
    """A record of both metrics of `DepthProbe` at two taps."""
    measurements = []
    for tap, error, share in zip(("conv4", "conv5"), errors, shares, strict=True):
        ends = {"ci_low": error - 0.01, "ci_high": error + 0.01}
        metric = {"metric": "rmse", "unit": "m", "higher_is_better": False, "chance": 0.85}
        measurements.append(Measurement(tap=tap, value=error, **metric, **ends))  # type: ignore[arg-type]
        measurements.append(Measurement(tap=tap, metric="delta", unit="fraction", value=share))
    return accuracy_record(method, 0, 0, 0, measurements=tuple(measurements), **changes)


RECORDS = [
    depth_record("rotnet", (0.75, 0.7), (0.5, 0.6)),
    depth_record("jigsaw", (0.7, 0.8), (0.55, 0.4)),
    depth_record(FLOOR, (0.9, 0.9), (0.2, 0.1), kind="untrained"),
    depth_record(CEILING, (0.4, 0.3), (0.8, 0.9)),
    failed_record("swav", 0, "Traceback\n  in loss\nloss is not finite"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(
        RECORDS,
        folder=tmp_path_factory.mktemp("results"),
        methods=["rotnet", "jigsaw", "swav"],
        headlines={"linear": "rmse"},
        protocols={"linear": DepthProbe},
        formats=("md", "csv", "tex", "html"),
    )


def test_the_printed_table(report: Report) -> None:
    """The headline's columns and the lowest error are first; floor, ceiling and chance are rules at their places."""
    assert report.text.split("\n\n")[1:3] == PRINTED.strip().split("\n\n")


def test_other_formats(report: Report) -> None:
    """Both levels of the heading, the marks and the rules are in each format."""
    markdown, csv, latex, html = (file.read_text() for file in report.files)
    assert "|   rmse (m) ↓<br>conv4 |" in markdown
    assert "**0.700 ± 0.010**" in markdown
    assert '<th colspan="2" scope="colgroup">delta (%)</th>' in html
    assert html.count('<tr class="rule ') == 3
    assert r"\multicolumn{2}{c}{rmse (m) $\downarrow$} & \multicolumn{2}{c}{delta (\%)}" in latex
    assert csv.splitlines()[0].endswith(",metric,unit,higher_is_better,chance,tied_with_best")


def test_the_columns_of_many_metrics_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the lines would be too long, the metrics that do not fit go below."""
    monkeypatch.setattr("sslbench.bench.report.table_formats.terminal_width", lambda: 80)
    more = [Measurement(tap=tap, metric=f"rmse_{name}", value=1) for tap in ("conv4", "conv5") for name in "xy"]
    records = [replace(record, measurements=(*record.measurements, *more)) for record in RECORDS[:2]]
    text = write_report(records, folder=tmp_path, formats=(), protocols={"linear": DepthProbe}).text
    assert max(map(len, text.splitlines())) <= 80
    assert sum(line.startswith("rotnet   ") for line in text.splitlines()) == 2
    assert "rmse_x" in text
    assert "rmse_y" in text


@pytest.mark.parametrize("protocol", [Edges, MultiLabel])
def test_one_metric_needs_no_table_of_its_own(protocol: type) -> None:
    """Methods by taps are enough."""
    assert len(protocol.metrics) == 1
    assert not {"table"} & find_plugins("protocol")[protocol.__name__.lower()].functions


PRINTED = """
rotnet is best at conv5 (0.700 m). Both methods are significantly better than the untrained encoder
(0.900 m).

method                          rmse (m) ↓      rmse (m) ↓    delta (%)    delta (%)
                                     conv4           conv5        conv4        conv5
--------------------------  --------------  --------------  -----------  -----------
── supervised (ceiling) ──   0.400 ± 0.010   0.300 ± 0.010         80.0         90.0
rotnet                       0.750 ± 0.010  *0.700 ± 0.010         50.0        *60.0
jigsaw                      *0.700 ± 0.010   0.800 ± 0.010        *55.0         40.0
── chance ──                         0.850           0.850            -            -
── random (floor) ──         0.900 ± 0.010   0.900 ± 0.010         20.0         10.0
swav                                failed          failed       failed       failed
"""
