"""``Results``, ``load`` and ``compare``: what is made of records alone, for terminals and notebooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sslbench
from sslbench.bench.plugins.discovery import ROOT
from sslbench.bench.records import store
from tests.records.builders import accuracy_record, failed_record

BASELINE = ROOT / "results" / "baseline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods and the floor in two protocols, a failed cell and a damaged file."""
    results = tmp_path_factory.mktemp("results")
    values = {"rotnet": (0.75, 0.5), "moco": (0.625, 0.5625), "random": (0.25, 0.125)}
    for protocol in ("linear", "knn"):
        for method, (conv4, conv5) in values.items():
            record = accuracy_record(method, 0, conv4, conv5, cell={"method": method, "protocol": protocol, "seed": 0})
            store.write(results / "records", record)
    store.write(results / "records", failed_record("simclr", 0, "Diverged: loss is NaN"))
    (results / "records" / "broken.json").write_text("{")
    return results


@pytest.fixture(scope="module")
def loaded(folder: Path) -> sslbench.Results:
    """The same results, loaded."""
    return sslbench.load(folder)


def test_a_folder_is_loaded_with_what_is_damaged(folder: Path, loaded: sslbench.Results) -> None:
    """All records are there; the damaged file is listed with the reason, and the failed cell is named."""
    assert len(loaded.records) == 7
    ((path, reason),) = loaded.skipped
    assert (path, reason[:14]) == (folder / "records" / "broken.json", "not whole JSON")
    assert [record.cell.method for record in loaded.failed] == ["simclr"]
    assert repr(loaded) == f"<Results of {folder}: 7 records, 4 methods, 2 protocols, 1 failed, 1 skipped file>"
    assert sslbench.load(str(folder / "records")).folder == folder


def test_the_frame_is_tidy(loaded: sslbench.Results) -> None:
    """A row per cell, tap and metric, with the value as a fraction."""
    frame = loaded.frame
    assert len(frame) == 2 * 3 * 2 + 1
    row = frame[(frame.method == "moco") & (frame.protocol == "knn") & (frame.tap == "conv5")]
    assert row["value"].tolist() == [0.5625]
    assert row[["ci_low", "ci_high"]].to_numpy().tolist() == [[0.5425, 0.5825]]


def test_tables_show_as_text_and_in_notebooks(loaded: sslbench.Results) -> None:
    """One table per protocol; all of its forms have the numbers."""
    tables = loaded.table()
    assert sorted(table.protocol for table in tables) == ["knn", "linear"]
    linear = loaded.table("linear", encoder="convnet")
    assert [table.protocol for table in linear] == ["linear"]
    for form in (str(linear), repr(linear), linear.markdown, linear.latex, linear.html, linear._repr_html_()):
        assert "56.2" in form or "56.3" in form
        assert "75.0" in form
        assert "knn" not in form
    assert linear.markdown.startswith("### linear")
    assert r"\begin{tabular}" in linear.latex
    assert linear.html.startswith("<table>")


def test_figures_are_drawn_as_in_the_report(loaded: sslbench.Results) -> None:
    """One figure of matplotlib per table, each with a text and a picture for notebooks."""
    from matplotlib.figure import Figure

    figures = loaded.plot()
    assert len(figures) == 2
    assert all(isinstance(figure, Figure) and figure.axes for figure in figures)
    html = figures._repr_html_()
    assert html.count("<img src=") == 2
    assert html.count('alt="Figure of ') == 2
    (knn,) = loaded.plot("knn")
    titles = [axes.get_title() for axes in knn.axes]
    assert "conv4" in titles
    assert "conv5" in titles


def test_a_notebook_shows_the_leaderboard(loaded: sslbench.Results) -> None:
    """The summary, the reason of each failure, and methods by protocols."""
    html = loaded._repr_html_()
    assert "7 records, 4 methods, 2 protocols, 1 failed, 1 skipped file" in html
    assert "Diverged: loss is NaN" in html
    assert html.count("<table>") == 1
    assert html.index("knn") < html.index("moco")
    assert "linear" in html


def test_some_methods_can_be_selected(loaded: sslbench.Results) -> None:
    """They are shown with the floor; what would be saved is of the whole folder."""
    some = loaded.select(["rotnet"])
    assert {record.cell.method for record in some.records} == {"rotnet", "random"}
    assert "moco" not in some.text
    assert "random (floor)" in some.text
    assert some.saved_records == loaded.records
    with pytest.raises(sslbench.UserError, match=r"no record of 'rotnot'\. Did you mean 'rotnet'"):
        loaded.select("rotnot")
    with pytest.raises(sslbench.UserError, match="names nothing"):
        loaded.select([])


MISTAKES = {
    "no folder": (lambda folder: sslbench.load(folder / "nothing"), "contains no records; make some"),
    "no records": (lambda folder: sslbench.load(damaged_only(folder)), "1 files are no records, the first"),
    "no protocol": (
        lambda folder: sslbench.load(folder).table("lineal"),
        "no record of 'lineal'. Did you mean 'linear'",
    ),
    "no encoder": (lambda folder: sslbench.load(folder).plot("knn", encoder="vit"), "no record of 'vit'"),
    "no numbers": (lambda folder: failed_only(sslbench.load(folder)).plot(), "every cell failed"),
    "no tolerance": (lambda folder: sslbench.compare(folder, folder, tolerance=2), "--tolerance = 2"),
    "no method": (lambda folder: sslbench.compare(folder, folder, methods="moca"), "Did you mean 'moco'"),
}


def damaged_only(folder: Path) -> Path:
    """A folder next to the results with one damaged file."""
    damaged = folder.parent / "damaged"
    (damaged / "records").mkdir(parents=True, exist_ok=True)
    (damaged / "records" / "a.json").write_text("[]")
    return damaged


def failed_only(results: sslbench.Results) -> sslbench.Results:
    """The results without what succeeded."""
    return replace(results, records=results.failed)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_with_the_remedy(name: str, folder: Path) -> None:
    """Each is a UserError that names what is missing."""
    attempt, message = MISTAKES[name]
    with pytest.raises(sslbench.UserError, match=message) as caught:
        attempt(folder)
    assert "\n" not in str(caught.value)


def test_folders_and_results_are_compared(loaded: sslbench.Results, folder: Path) -> None:
    """A worse cell is found whatever the two sides are given as; nothing is worse than itself."""
    worse = [replace(one, measurements=tuple(replace(m, value=m.value - 0.125) for m in one.measurements)) for one in
             loaded.records if one.cell.method == "moco"]  # fmt: skip
    others = [one for one in loaded.records if one.cell.method != "moco"]
    changed = replace(loaded, records=others + worse)
    result = sslbench.compare(folder, changed)
    assert result.exit_code == 1
    assert {(cell.names[0], cell.tap) for cell in result.worse} == {("moco", "conv4"), ("moco", "conv5")}
    assert [cell.difference for cell in result.worse] == [-0.125] * 4
    assert "-12.5" in str(result)
    assert "-12.5" in result._repr_html_()
    assert result.damaged == loaded.skipped * 2
    assert len(loaded.compare(changed, methods=["moco"]).cells) == 4
    assert sslbench.compare(changed, folder, tolerance=0.25).exit_code == 0
    same = sslbench.compare(str(folder), loaded)
    assert (same.exit_code, same.worse, same.counts) == (0, [], {"same": 12})


def test_committed_results_are_compared_by_paired_tests() -> None:
    """Folders with predictions are compared image by image."""
    result = sslbench.compare(BASELINE, BASELINE, methods="rotnet,moco")
    assert result.exit_code == 0
    assert result.counts == {"same": len(result.cells)}
    assert all(cell.low is not None and cell.low <= cell.difference == 0 for cell in result.cells)
