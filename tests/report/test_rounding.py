"""One rounding: a number reads the same in tables, on the page and in comparisons."""

from __future__ import annotations

import re

import pytest

from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.protocol import as_percent
from sslbench.bench.records.measurement import FRACTION, format_number
from sslbench.bench.records.store import read_all
from sslbench.bench.report.comparison_formats import figure
from sslbench.bench.report.grids import table_grid
from sslbench.bench.report.page.cells import cell_data
from sslbench.bench.report.render import Report, write_report


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The tables of the committed records on the embedded data."""
    records, damaged = read_all(ROOT / "results" / "synthetic" / "records")
    assert not damaged
    return write_report(records, folder=tmp_path_factory.mktemp("results"), formats=())


def test_the_page_and_the_tables_agree(committed: Report) -> None:
    """Every number of the page's cells is in the cell of the table that it belongs to, with its interval."""
    compared = half_way = 0
    for table in committed.tables:
        grid = table_grid(table, measured=True)
        headings = [parts[-1] for parts in grid.header]
        texts = {row[0].text: dict(zip(headings, row, strict=True)) for row in grid.rows}
        roles = {label: f"{label} ({cells[0].role})" for label, cells in table.rows_by_label if cells[0].role}
        for record in table.records:
            data = cell_data(record, table)
            row = texts[roles.get(record.cell.method, record.cell.method)]
            for number in data["headline"]:
                shown = row[number["tap"]].text
                assert shown == f"{number['text']} ± {number['interval_text']}"
                assert [number["tap"], number["metric"], number["text"]] in [line[:3] for line in data["metrics"]]
                compared += 1
                half_way += round(1e4 * number["value"]) % 10 == 5
    assert compared > 120
    assert half_way > 10  # those that NumPy, Python and JavaScript round differently


def test_comparisons_and_protocols_use_the_same_rounding(committed: Report) -> None:
    """The formatters of differences and of protocols' own tables agree with that of tables."""
    values = [found.value for table in committed.tables for r in table.records for found in r.measurements]
    assert len(values) > 200
    for value in values:
        text = format_number(value)
        assert figure(value, FRACTION) == as_percent(value) == text
        assert re.fullmatch(r"\d{1,3}\.\d", text)
        assert abs(float(text) - 100 * value) <= 0.05 + 1e-9
