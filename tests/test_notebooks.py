"""The notebooks of the documentation run from the first cell to the last, and are stored without outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sslbench.bench.plugins.discovery import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not in a wheel")

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_stored_without_outputs(notebook: Path) -> None:
    """Outputs would make the repository large and every change unreadable; no cell has one, or a number."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert {cell["cell_type"] for cell in cells} == {"markdown", "code"}
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells if cell["cell_type"] == "code"] == [
        ([], None) for cell in cells if cell["cell_type"] == "code"
    ]
    assert notebook.stat().st_size < 20_000


def test_there_is_one_for_each_purpose() -> None:
    """The README names three."""
    assert [path.stem for path in NOTEBOOKS] == ["add_a_method", "choose_an_encoder", "lecture_tables"]


def test_the_method_is_that_of_the_readme() -> None:
    """The file that the notebook writes is the README's example, so that neither drifts from the other."""
    cells = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))["cells"]
    (written,) = [
        source for cell in cells if (source := "".join(cell["source"])).startswith("%%writefile sharpness.py\n")
    ]
    (example,) = re.findall(r"```python\n# sharpness\.py\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert written.partition("\n")[2].strip() == example.strip()


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs without an error; each that ends in a table, figure or picture shows it as HTML or PNG."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SSLBENCH_CACHE", str(tmp_path / "cache"))
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in content.cells for output in cell.get("outputs", []) if "data" in output]
    rich = [output for output in shown if {"text/html", "image/png"} & output["data"].keys()]
    assert len(rich) >= 3
    assert not [
        output for cell in content.cells for output in cell.get("outputs", []) if output["output_type"] == "error"
    ]
