"""The web page: its content and size, and in a browser its sorting, its filters and the details of a cell."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslbench.bench.cli import main
from sslbench.bench.protocol import Measurement
from sslbench.bench.records import store
from sslbench.bench.records.mistakes import PER_TAP, contact_sheet, most_confident_mistakes
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Record
from sslbench.bench.report.page import render_page
from sslbench.bench.report.render import write_report
from tests.records.builders import accuracy_record, failed_record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
N = 60
LABELS = np.arange(N) % 3
CLASSES = ("cat", "dog & <b>fox</b>", "</script>")


def store_record(folder: Path, method: str, wrong: int, **changes: Any) -> Record:
    """Store a record that predicts the wrong class for the first ``wrong`` images, with predictions and pictures."""
    predictions = np.where(np.arange(N) < wrong, (LABELS + 1) % 3, LABELS)
    number = Measurement(
        tap="conv4",
        metric="accuracy",
        value=0,
        predictions=predictions,
        confidences=np.linspace(0.5, 0.9, N, dtype=np.float32),
    )
    right = float((predictions == LABELS).mean())
    found = most_confident_mistakes(number, LABELS)
    record = accuracy_record(method, 0, right, right - 0.1, mistakes={"conv4": found}, classes=CLASSES, **changes)
    images = torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 3, 40, 40)
    pictures = contact_sheet(images, {"conv4": found})
    stored = Predictions(LABELS, {"conv4": predictions, "conv5": predictions})
    store.write(folder / "records", record, stored, pictures)
    return record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the records of four methods, one of them failed, and the page."""
    folder = tmp_path_factory.mktemp("results")
    for method, wrong in (("jigsaw", 12), ("rotnet", 6), ("random", 30)):
        store_record(folder, method, wrong)
    store.write(folder / "records", failed_record("moco", 0, "loss is not finite <i>"))
    assert main(["report", "--results", str(folder), "--html"]) == 0
    return folder


def page_data(text: str) -> dict[str, Any]:
    """The data that the page embeds as JSON."""
    return json.loads(re.search(r'id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_fetches_nothing(results: Path) -> None:
    """The page refers to nothing outside itself but by links, its policy forbids it, and no placeholder is left."""
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    links = re.findall(r'<a rel="noreferrer" href="https://[^"]*">', text)
    assert links
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', re.sub("|".join(map(re.escape, set(links))), "", text))
    assert not re.findall(r"url\((?!\$|data:)|@import|fetch\(|XMLHttpRequest", text)
    assert not re.findall(r"@|{{|{%|{#", re.sub(r"<script.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL))


def test_a_cell_has_its_provenance(results: Path) -> None:
    """Each record has its settings, confusion and mistakes, also the failed one, and its text is escaped."""
    text = (results / "report.html").read_text(encoding="utf-8")
    cells = {one["columns"]["method"]: one for one in page_data(text)["cells"]}
    assert cells.keys() == {"random", "jigsaw", "rotnet", "moco"}
    assert cells["rotnet"]["confusion"]["conv4"]["matrix"] == [[18, 2, 0], [0, 18, 2], [2, 0, 18]]
    assert cells["rotnet"]["provenance"]["recipe"]["views"] == 320_000
    assert cells["rotnet"]["classes"] == list(CLASSES)
    assert [one["image"] for one in cells["rotnet"]["mistakes"]["conv4"]] == [5, 4, 3, 2, 1]
    assert cells["rotnet"]["pictures"].startswith("data:image/webp;base64,")
    assert cells["random"]["columns"]["role"] == "floor"
    assert cells["rotnet"]["command"].startswith("python run_bench.py --methods rotnet --protocol linear")
    assert cells["moco"]["error"] == "loss is not finite <i>"
    assert text.count("</script>") == 2


def test_text_of_a_record_is_escaped(tmp_path: Path) -> None:
    """A date that is markup stays text in the page's heading."""
    record = accuracy_record("rotnet", 0, 0.5, 0.5, provenance={"created": "<script>2"})
    text = render_page(write_report([record], folder=tmp_path, formats=()))
    assert "newest measurement &lt;script&gt;2" in text
    assert "<script>2" not in text


def test_many_classes_are_shown_as_the_most_confused_pairs(tmp_path: Path) -> None:
    """Fifty classes are listed as pairs; damaged predictions leave the other cells as they are."""
    record = accuracy_record("rotnet", 0, 0.5, 0.5)
    truth = np.arange(100) % 50
    predictions = truth.copy()
    predictions[[0, 50]] = 7
    predictions[1] = 9
    store.write(tmp_path, record, Predictions(truth, {"conv4": predictions}))
    other = accuracy_record("jigsaw", 0, 0.5, 0.5)
    store.write(tmp_path, other, Predictions(truth, {"conv4": predictions}))
    (tmp_path / f"{store.file_stem(other)}.npz").write_bytes(b"cut")
    cells = page_data(render_page(write_report(store.read_all(tmp_path)[0], folder=tmp_path, formats=())))["cells"]
    found = {one["columns"]["method"]: one for one in cells}
    assert found["rotnet"]["confusion"]["conv4"]["pairs"] == [[0, 7, 2], [1, 9, 1]]
    assert "cannot be read" in found["jigsaw"]["predictions_error"]


def test_pictures_beyond_the_budget_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and figures that exceed the size of the page are replaced by a note."""
    for method in ("jigsaw", "rotnet"):
        store_record(tmp_path, method, 20)
    made = write_report(store.read_all(tmp_path / "records")[0], folder=tmp_path, formats=("png",))
    first = len(page_data(render_page(made))["cells"][0]["pictures"])
    monkeypatch.setattr("sslbench.bench.report.page.cells.MAX_PICTURE_BYTES", first)
    monkeypatch.setattr("sslbench.bench.report.page.figures.MAX_FIGURE_BYTES", 100)
    text = render_page(made)
    cells = page_data(text)["cells"]
    assert cells[0]["pictures"]
    assert not cells[1]["pictures"]
    assert "left out for size" in cells[1]["pictures_note"]
    assert "Left out for size: linear-" in text


def browse(text: str, folder: Path, address: str = "", script: str = "") -> str:
    """The document in a browser after a script has used it, without its scripts."""
    assert CHROMIUM is not None
    file = folder / "page.html"
    file.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"),
        f"file://{file}{address}",
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)


def attribute(dom: str, name: str) -> str:
    """What a script left in an attribute of the body."""
    found = re.search(rf'<body[^>]* data-{name}="([^"]*)"', dom)
    assert found, name
    return html.unescape(found[1])


def shown_methods(dom: str, table: str = "rows") -> list[str]:
    """The methods in the order of the rows: of the list of all numbers, or of the first leaderboard."""
    start, cell = {
        "rows": (r'<table id="rows">', r"<tr[^>]*><td>([^<]*)</td>"),
        "leaderboard": (r'<table class="leaderboard', r'<tr(?![^>]* hidden)[^>]*>\s*<th[^>]* data-value="([^"]*)"'),
    }[table]
    body = re.search(start + r".*?<tbody>(.*?)</tbody>", dom, re.DOTALL)[1]
    return re.findall(cell, body)


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")


@pytest.mark.slow
@needs_browser
def test_filters_and_details_work_in_a_browser(results: Path, tmp_path: Path) -> None:
    """They work by address, by click and by keyboard; a cell shows its provenance, confusion and pictures."""
    text = (results / "report.html").read_text(encoding="utf-8")
    dom = browse(text, tmp_path, "#rows=-value&tap=conv4")
    assert shown_methods(dom) == ["rotnet", "jigsaw", "random (floor)"]
    assert 'aria-sort="descending"' in dom
    assert "different questions" not in dom

    keys = """
    const event = (key) => new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    const press = (target, key) => target.dispatchEvent(event(key));
    const type = (text) => {
      document.getElementById("find").value = text;
      document.getElementById("find").dispatchEvent(new Event("input", { bubbles: true }));
    };
    document.querySelector('#rows th[data-column="value"] button').click();
    document.querySelector('#rows th[data-column="value"] button').click();
    press(document.body, "/");
    document.body.dataset.found = document.activeElement.id;
    type("ROT conv5");
    document.body.dataset.rows = document.querySelectorAll("#rows tbody tr").length;
    type("");
    const first = document.querySelector("#rows tbody tr");
    first.focus();
    press(first, "ArrowDown");
    const second = document.activeElement;
    press(second, "Enter");
    document.body.dataset.opened = document.getElementById("cell").open;
    document.getElementById("theme").click();
    document.body.dataset.theme = document.documentElement.dataset.theme;
    """
    dom = browse(text, tmp_path, "", keys)
    assert [attribute(dom, name) for name in ("found", "rows", "opened", "theme")] == ["find", "1", "true", "dark"]
    values = re.findall(r'<td class="number">([\d.]+|failed|-)</td><td class="number">[\d.-]+</td><td>', dom)
    assert values[:-1] == sorted(values[:-1], key=float)
    assert values[-1] == "failed"
    assert "different questions" in dom

    key = next(one["key"] for one in page_data(text)["cells"] if one["columns"]["method"] == "rotnet")
    dom = browse(text, tmp_path, f"#cell={key}")
    assert "rotnet: linear on shapes" in dom
    assert "dog &amp; &lt;b&gt;fox&lt;/b&gt;" in dom
    assert dom.count("% sure") == PER_TAP
    assert "views = 320000" in dom
    assert "data:image/webp" in dom


@pytest.mark.slow
@needs_browser
def test_a_thousand_rows_sort_quickly(tmp_path: Path) -> None:
    """Five hundred cells with two taps are sorted in less than a second, the leaderboard with them."""
    cells_of_methods = [accuracy_record(f"method{n % 100}", n // 100, 0.3 + n / 1000, 0.5) for n in range(500)]
    text = render_page(write_report(cells_of_methods, folder=tmp_path, formats=()))
    script = """
    const milliseconds = [1, 2, 3, 4, 5].map(() => {
      const start = performance.now();
      document.querySelector('#rows th[data-column="value"] button').click();
      document.body.offsetHeight;
      return performance.now() - start;
    });
    document.body.dataset.milliseconds = Math.round(Math.min(...milliseconds));
    document.body.dataset.first = document.querySelectorAll("#rows tbody tr").length;
    document.getElementById("more").click();
    """
    dom = browse(text, tmp_path, "", script)
    assert attribute(dom, "first") == "250"
    assert len(shown_methods(dom)) == 1000
    assert int(attribute(dom, "milliseconds")) < 1000
