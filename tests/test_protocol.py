"""What a protocol adds to its numbers: how they are written, and a table, notes and a figure of its own."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.protocol import Protocol, percent
from sslbench.bench.report.render import report
from tests.test_report import cell


class Spread(Protocol):
    """Says which method came first at conv5, in its own table, and draws one line."""

    def feature_specs(self):
        return ()

    def evaluate(self, representation):
        yield from ()

    @classmethod
    def table(cls, measured: pd.DataFrame, published: pd.DataFrame) -> list[pd.DataFrame]:
        rows = measured[(measured["tap"] == "conv5") & (measured["metric"] == "accuracy")]
        known = published[published["protocol"] == "non-linear classifier"].set_index("method")
        known = known[known["tap"] == "conv5"]["value"]
        lines = [
            {"Who & what": row.label, "How well": percent(row.mean, row.half), "Then": percent(known[row.method])}
            for row in rows.itertuples()
        ]
        return [pd.DataFrame(lines), pd.DataFrame({"Rows": [str(len(measured))]})]

    @classmethod
    def notes(cls, measured: pd.DataFrame, published: pd.DataFrame, card: dict) -> list[str]:
        return [f"best with a {card['head']} head: {measured.loc[measured['mean'].idxmax(), 'label']}"]

    @classmethod
    def plot(cls, measured: pd.DataFrame, published: pd.DataFrame, figure: Figure) -> None:
        figure.subplots().plot(measured["mean"])


RUNS = [cell("rotnet", 0, 0.5, 0.75), cell("jigsaw", 0, 0.6, 0.5)]


def test_a_protocol_has_its_own_table_and_notes(tmp_path: Path) -> None:
    """Its parts stand where methods by taps would, its sentences below, and all published sources."""
    made = report(
        RUNS, folder=tmp_path, methods=["rotnet", "jigsaw"], formats=("md", "csv", "tex"), protocols={"linear": Spread}
    )
    assert made.text.startswith(PRINTED)
    told = " ".join(made.text.split())
    assert "ImageNet-1k, AlexNet, non-linear classifier at conv4, conv5; ImageNet-1k, AlexNet, linear" in told
    assert "RotNet (Gidaris 2018), Table 5" in told
    markdown, separated, latex = (path.read_text() for path in made.files)
    assert "| rotnet | 75.0 ± 2.0 | 43.8 |" in " ".join(markdown.split())
    assert r"Who \& what" in latex
    assert r"75.0 $\pm$ 2.0" in latex
    assert separated.count("accuracy") == 4


def test_a_protocol_draws_its_own_figure(tmp_path: Path) -> None:
    """What it draws replaces the bars, and is drawn once, the same bytes for the same numbers."""
    own = report(RUNS, folder=tmp_path / "own", formats=("svg",), protocols={"linear": Spread}).files[0]
    again = report(RUNS, folder=tmp_path / "again", formats=("svg",), protocols={"linear": Spread}).files[0]
    bars = report(RUNS, folder=tmp_path / "bars", formats=("svg",)).files[0]
    assert own.read_bytes() == again.read_bytes() != bars.read_bytes()
    stamp = own.stat().st_mtime_ns
    report(RUNS, folder=tmp_path / "own", formats=("svg",), protocols={"linear": Spread})
    assert own.stat().st_mtime_ns == stamp


def test_where_nothing_was_measured_a_protocol_is_not_asked(tmp_path: Path) -> None:
    """The report of a bad night needs no help, and a protocol meets no empty table."""
    lost = cell("rotnet", 0, 0, 0, status="failed", error="out of memory", metrics=[])
    assert "rotnet      failed" in report([lost], folder=tmp_path, protocols={"linear": Spread}).text


def test_only_a_protocol_with_a_table_of_its_own_is_loaded_for_a_report() -> None:
    """Its source says so; loading one takes torch, for which the others' tables need not wait."""
    known = find_plugins("protocol")
    assert "table" in known["rotations"].functions
    assert not known["linear"].functions & {"table", "notes", "plot"}


def test_percent_is_what_tables_print() -> None:
    """One decimal unless asked otherwise, half an interval where there is one, a dash for nothing."""
    assert [percent(0.5), percent(0.5, 0.0123), percent(0.8906, digits=2)] == ["50.0", "50.0 ± 1.2", "89.06"]
    assert percent(math.nan) == percent(math.nan, 0.1) == "-"


PRINTED = """\
linear: accuracy (%) on shapes, convnet, small

Who & what      How well    Then
------------  ----------  ------
jigsaw        50.0 ± 2.0    34.6
rotnet        75.0 ± 2.0    43.8

Rows
------
4

±: half the 95 % interval over test images (bootstrap)
best with a linear head: rotnet
"""
