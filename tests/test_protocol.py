"""A protocol's own table, notes and figure in a report, and how its numbers are formatted."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.protocol import Protocol, as_percent
from sslbench.bench.report.render import write_report
from tests.records.builders import accuracy_record, failed_record


class Spread(Protocol):
    """A protocol with its own table, a note on the best method, and a figure with one line."""

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
            {
                "Who & what": row.label,
                "How well": as_percent(row.mean, row.ci_half_width),
                "Then": as_percent(known[row.method]),
            }
            for row in rows.itertuples()
        ]
        return [pd.DataFrame(lines), pd.DataFrame({"Rows": [str(len(measured))]})]

    @classmethod
    def notes(cls, measured: pd.DataFrame, published: pd.DataFrame, card: dict) -> list[str]:
        return [f"best with a {card['head']} head: {measured.loc[measured['mean'].idxmax(), 'label']}"]

    @classmethod
    def plot(cls, measured: pd.DataFrame, published: pd.DataFrame, figure: Figure) -> None:
        figure.subplots().plot(measured["mean"])


RUNS = [accuracy_record("rotnet", 0, 0.5, 0.75), accuracy_record("jigsaw", 0, 0.6, 0.5)]


def test_a_protocol_has_its_own_table_and_notes(tmp_path: Path) -> None:
    """Its parts replace the table of methods by taps; its notes and all published sources are below."""
    made = write_report(
        RUNS, folder=tmp_path, methods=["rotnet", "jigsaw"], formats=("md", "csv", "tex"), protocols={"linear": Spread}
    )
    assert made.text.startswith(PRINTED)
    text = " ".join(made.text.split())
    assert "ImageNet-1k, AlexNet, non-linear classifier at conv4, conv5; ImageNet-1k, AlexNet, linear" in text
    assert "RotNet (Gidaris 2018), Table 5" in text
    markdown, separated, latex = (path.read_text() for path in made.files)
    assert "| rotnet | 75.0 ± 2.0 | 43.8 |" in " ".join(markdown.split())
    assert r"Who \& what" in latex
    assert r"75.0 $\pm$ 2.0" in latex
    assert separated.count("accuracy") == 4


def test_a_protocol_draws_its_own_figure(tmp_path: Path) -> None:
    """Its figure replaces the bars; equal numbers give equal bytes and are not drawn again."""
    own = write_report(RUNS, folder=tmp_path / "own", formats=("svg",), protocols={"linear": Spread}).files[0]
    again = write_report(RUNS, folder=tmp_path / "again", formats=("svg",), protocols={"linear": Spread}).files[0]
    bars = write_report(RUNS, folder=tmp_path / "bars", formats=("svg",)).files[0]
    assert own.read_bytes() == again.read_bytes() != bars.read_bytes()
    stamp = own.stat().st_mtime_ns
    write_report(RUNS, folder=tmp_path / "own", formats=("svg",), protocols={"linear": Spread})
    assert own.stat().st_mtime_ns == stamp


def test_a_report_without_results_does_not_use_the_protocol(tmp_path: Path) -> None:
    """Where all runs failed, the report has the usual table, and the protocol gets no empty one."""
    lost = failed_record("rotnet", 0, "out of memory")
    assert "rotnet      failed" in write_report([lost], folder=tmp_path, protocols={"linear": Spread}).text


def test_only_a_protocol_with_a_table_of_its_own_is_loaded_for_a_report() -> None:
    """The source text says which protocols have one; the others are not imported, which would import torch."""
    known = find_plugins("protocol")
    assert "table" in known["rotations"].functions
    assert not known["linear"].functions & {"table", "notes", "plot"}


def test_percent_formats_fractions() -> None:
    """One decimal by default, half the interval if there is one, and a dash for a missing value."""
    assert [as_percent(0.5), as_percent(0.5, 0.0123), as_percent(0.8906, digits=2)] == ["50.0", "50.0 ± 1.2", "89.06"]
    assert as_percent(math.nan) == as_percent(math.nan, 0.1) == "-"


PRINTED = """\
linear: accuracy (%) on shapes, convnet, small

Who & what      How well    Then
------------  ----------  ------
rotnet        75.0 ± 2.0    43.8
jigsaw        50.0 ± 2.0    34.6

Rows
------
4

one seed: ± covers test images only (half the 95 % Wilson interval)
best with a linear head: rotnet
"""
