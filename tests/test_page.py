"""The web page: what it holds, how small it is, and, in a browser, how it sorts, filters and opens a cell."""

from __future__ import annotations

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
from sslbench.bench.records import record as records
from sslbench.bench.records.mistakes import KEPT, SIDE, mistakes, sheet, surest
from sslbench.bench.report.page import page
from sslbench.bench.report.render import report
from tests.test_report import cell, failed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
N = 60
TRUTH = np.arange(N) % 3
CLASSES = ("cat", "dog & <b>fox</b>", "</script>")


def stored(folder: Path, method: str, wrong: int, **changes: Any) -> records.Record:
    """A record whose method takes the first images for the next class, with its predictions and pictures."""
    predictions = np.where(np.arange(N) < wrong, (TRUTH + 1) % 3, TRUTH)
    number = Measurement(
        tap="conv4",
        metric="accuracy",
        value=0,
        predictions=predictions,
        confidences=np.linspace(0.5, 0.9, N, dtype=np.float32),
    )
    right = float((predictions == TRUTH).mean())
    found = surest(number, TRUTH)
    record = cell(method, 0, right, right - 0.1, mistakes={"conv4": found}, classes=CLASSES, **changes)
    images = torch.arange(N, dtype=torch.uint8)[:, None, None, None].expand(N, 3, 40, 40)
    pictures = sheet(images, {"conv4": found})
    beside = {"conv4": predictions, "conv5": predictions, "labels": TRUTH}
    records.write(folder / "records", record, beside, pictures)
    return record


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with records of four methods, one of them failed."""
    folder = tmp_path_factory.mktemp("results")
    for method, wrong in (("jigsaw", 12), ("rotnet", 6), ("random", 30)):
        stored(folder, method, wrong)
    records.write(folder / "records", failed("moco", 0, "loss is not finite <i>"))
    assert main(["report", "--results", str(folder), "--html"]) == 0
    return folder


def data_of(text: str) -> dict[str, Any]:
    """What the page carries."""
    return json.loads(re.search(r'id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_the_surest_mistakes_are_chosen() -> None:
    """Wrong ones only, the most confident first; none where nothing is wrong or nobody said how sure it was."""
    number = Measurement(
        tap="t",
        metric="accuracy",
        value=0.5,
        predictions=np.array([0, 1, 1, 0, 2]),
        confidences=np.array([0.9, 0.4, 0.99, 0.7, 0.8]),
    )
    found = surest(number, np.array([1, 1, 0, 0, 0]))
    assert [(one["image"], one["label"], one["predicted"], one["confidence"]) for one in found] == [
        (2, 0, 1, 0.99),
        (0, 1, 0, 0.9),
        (4, 0, 2, 0.8),
    ]
    assert surest(number, number.predictions) == []
    later = Measurement(tap="t", metric="accuracy_k5", value=0, predictions=TRUTH, confidences=TRUTH)
    assert mistakes([number, later], np.array([1, 1, 0, 0, 0])) == {"t": found}
    assert surest(Measurement(tap="t", metric="accuracy", value=0, predictions=TRUTH), TRUTH + 1) == []


def test_the_pictures_are_small_and_in_their_places() -> None:
    """One WebP, a row a tap, a column a mistake; large images are brought to the size of a thumb."""
    from io import BytesIO

    from PIL import Image

    images = torch.zeros(4, 3, 100, 100, dtype=torch.uint8)
    images[2, 0] = 255
    picture = Image.open(BytesIO(sheet(images, {"conv4": [{"image": 0}, {"image": 2}], "conv5": [{"image": 2}]})))
    assert picture.size == (KEPT * SIDE, 2 * SIDE)
    red = [picture.convert("RGB").getpixel((x + 16, y + 16))[0] > 200 for y in (0, SIDE) for x in (0, SIDE)]
    assert red == [False, True, True, False]


def test_the_page_stands_alone(results: Path) -> None:
    """Nothing is fetched: no address but those of sources in text, and a policy that forbids any."""
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert not re.findall(r"url\((?!\$|data:)|@import|fetch\(|XMLHttpRequest", text)
    assert "@" not in re.sub(r"<script.*?</script>|<style>.*?</style>", "", text, flags=re.DOTALL)


def test_a_cell_carries_its_provenance(results: Path) -> None:
    """Numbers, settings, confusion and mistakes of each record, the failed one too, and nothing can break out."""
    text = (results / "report.html").read_text(encoding="utf-8")
    cells = {one["of"]["method"]: one for one in data_of(text)["cells"]}
    assert cells.keys() == {"random", "jigsaw", "rotnet", "moco"}
    assert cells["rotnet"]["confusion"]["conv4"]["matrix"] == [[18, 2, 0], [0, 18, 2], [2, 0, 18]]
    assert cells["rotnet"]["facts"]["recipe"]["views"] == 320_000
    assert cells["rotnet"]["classes"] == list(CLASSES)
    assert [one["image"] for one in cells["rotnet"]["mistakes"]["conv4"]] == [5, 4, 3, 2, 1]
    assert cells["rotnet"]["pictures"].startswith("data:image/webp;base64,")
    assert cells["random"]["of"]["role"] == "floor"
    assert cells["rotnet"]["command"].startswith("python run_bench.py --methods rotnet --protocol linear")
    assert cells["moco"]["error"] == "loss is not finite <i>"
    assert text.count("</script>") == 2


def test_many_classes_are_told_by_the_pairs_most_confused(tmp_path: Path) -> None:
    """A matrix of a thousand classes helps nobody; damaged predictions cost their own cell alone."""
    record = cell("rotnet", 0, 0.5, 0.5)
    truth = np.arange(100) % 50
    predictions = truth.copy()
    predictions[[0, 50]] = 7
    predictions[1] = 9
    records.write(tmp_path, record, {"conv4": predictions, "labels": truth})
    other = cell("jigsaw", 0, 0.5, 0.5)
    records.write(tmp_path, other, {"conv4": predictions, "labels": truth})
    (tmp_path / f"{records.file_stem(other)}.npz").write_bytes(b"cut")
    cells = data_of(page(report(records.read_all(tmp_path)[0], folder=tmp_path, formats=())))["cells"]
    found = {one["of"]["method"]: one for one in cells}
    assert found["rotnet"]["confusion"]["conv4"]["pairs"] == [[0, 7, 2], [1, 9, 1]]
    assert "cannot be read" in found["jigsaw"]["unread"]


def test_what_would_make_the_page_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and figures have a budget; what exceeds it is named."""
    for method in ("jigsaw", "rotnet"):
        stored(tmp_path, method, 20)
    made = report(records.read_all(tmp_path / "records")[0], folder=tmp_path, formats=("png",))
    first = len(data_of(page(made))["cells"][0]["pictures"])
    monkeypatch.setattr("sslbench.bench.report.page.PICTURES", first)
    monkeypatch.setattr("sslbench.bench.report.page.FIGURES", 100)
    text = page(made)
    cells = data_of(text)["cells"]
    assert cells[0]["pictures"]
    assert not cells[1]["pictures"]
    assert "left out for size" in cells[1]["without"]
    assert "Left out for size: linear-" in text


def browsed(text: str, folder: Path, address: str = "", script: str = "") -> str:
    """The page as a browser leaves it, after a script has used it."""
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


def listed(dom: str) -> list[str]:
    """The methods in the order of the page's rows."""
    body = re.search(r'<table id="rows">.*?<tbody>(.*?)</tbody>', dom, re.DOTALL)[1]
    return re.findall(r"<tr[^>]*><td>([^<]*)</td>", body)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
def test_it_sorts_filters_and_opens_in_a_browser(results: Path, tmp_path: Path) -> None:
    """By its address, by a click, and by keys alone; a cell shows its provenance, confusion and pictures."""
    text = (results / "report.html").read_text(encoding="utf-8")
    dom = browsed(text, tmp_path, "#sort=-value&tap=conv4")
    assert listed(dom) == ["rotnet", "jigsaw", "random (floor)"]
    assert 'aria-sort="descending"' in dom
    assert "different questions" not in dom

    keys = """
    const event = (key) => new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    const press = (target, key) => target.dispatchEvent(event(key));
    document.querySelector('th[data-column="value"] button').click();
    document.querySelector('th[data-column="value"] button').click();
    press(document.body, "/");
    document.body.dataset.found = document.activeElement.id;
    document.getElementById("find").value = "ROT conv5";
    document.getElementById("find").dispatchEvent(new Event("input"));
    document.body.dataset.left = document.querySelectorAll("#rows tbody tr").length;
    document.getElementById("find").value = "";
    document.getElementById("find").dispatchEvent(new Event("input"));
    const first = document.querySelector("#rows tbody tr");
    first.focus();
    press(first, "ArrowDown");
    const second = document.activeElement;
    press(second, "Enter");
    document.body.dataset.opened = document.getElementById("cell").open;
    document.getElementById("theme").click();
    document.body.dataset.theme = document.documentElement.dataset.theme;
    """
    dom = browsed(text, tmp_path, "", keys)
    for fact in ('data-found="find"', 'data-left="1"', 'data-opened="true"', 'data-theme="dark"'):
        assert fact in dom, fact
    values = re.findall(r'<td class="number">([\d.]+|failed|–)</td><td class="number">', dom)
    assert values[:-1] == sorted(values[:-1], key=float)
    assert values[-1] == "failed"
    assert "different questions" in dom

    key = next(one["key"] for one in data_of(text)["cells"] if one["of"]["method"] == "rotnet")
    dom = browsed(text, tmp_path, f"#cell={key}")
    assert "rotnet: linear on shapes" in dom
    assert "dog &amp; &lt;b&gt;fox&lt;/b&gt;" in dom
    assert dom.count("% sure") == KEPT
    assert "views = 320000" in dom
    assert "data:image/webp" in dom


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
def test_a_thousand_rows_sort_in_a_blink(tmp_path: Path) -> None:
    """Five hundred cells of two taps: sorting takes a browser a fraction of a second."""
    runs = [cell(f"method{n % 100}", n // 100, 0.3 + n / 1000, 0.5) for n in range(500)]
    text = page(report(runs, folder=tmp_path, formats=()))
    script = """
    const took = [1, 2, 3, 4, 5].map(() => {
      const began = performance.now();
      document.querySelector('th[data-column="value"] button').click();
      document.body.offsetHeight;
      return performance.now() - began;
    });
    document.body.dataset.took = Math.round(Math.min(...took));
    document.body.dataset.first = document.querySelectorAll("#rows tbody tr").length;
    document.getElementById("more").click();
    """
    dom = browsed(text, tmp_path, "", script)
    assert 'data-first="250"' in dom
    assert len(listed(dom)) == 1000
    assert int(re.search(r'data-took="(\d+)"', dom)[1]) < 1000
