"""Hook of MkDocs: pages that are made from the README, the plugins, the notebooks and the records.

A line ``<!-- README: HEADING -->`` in a page stands for that section of the README. An unknown heading fails the build.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sslbench.bench.plugins.discovery import FOLDERS, Plugin, find_plugins, needs_of
from sslbench.bench.plugins.method_kinds import KINDS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
COPIED = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "licences.md": "LICENSES.md"}
RESULTS = ("synthetic", "cifar10-jpeg")
NAMES = {"protocol": "Protocols", "dataset": "Data sets", "encoder": "Encoders"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the notebooks to the navigation, behind the page on the Python interface."""
    for entry in config.nav or []:
        if isinstance(entry, dict) and "In Python" in entry:
            entry["In Python"] += [f"notebooks/{path.stem}.md" for path in notebooks()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    from mkdocs.structure.files import File

    pages = {name: (ROOT / source).read_text(encoding="utf-8") for name, source in COPIED.items()}
    pages["methods.md"] = methods_page()
    pages |= {f"notebooks/{path.stem}.md": notebook_page(path) for path in notebooks()}
    pages |= {f"results/{name}.html": results_page(name) for name in RESULTS}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Puts the sections of the README in their places."""
    sections = readme_sections()
    return re.sub(r"<!-- README: (.*?) -->", lambda found: sections[found[1]], markdown)


def readme_sections() -> dict[str, str]:
    """Heading -> text of each section of the README, without its generated tables and figures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!-- from .*?<!-- end -->\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^!\[.*\]\(results/.*\)\n", "", text, flags=re.MULTILINE)
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def methods_page() -> str:
    """Everything that can be named on the command line, with the methods in groups of one kind."""
    methods = find_plugins("method").values()
    lines = ["# Methods", "", "One file is one paper. `list NAME` prints a plugin's docstring and settings."]
    for kind, meaning in KINDS.items():
        of_kind = sorted((m for m in methods if m.constants.get("kind") == kind), key=lambda m: m.constants["year"])
        lines += ["", f"## {kind.capitalize()}", "", f"{meaning[0].upper()}{meaning[1:]}.", ""]
        lines += ["| method | year | learns from | what it does |", "| --- | --- | --- | --- |"]
        lines += [method_row(method) for method in of_kind]
    for plugin_kind in FOLDERS:
        if plugin_kind in NAMES:
            lines += ["", f"## {NAMES[plugin_kind]}", "", "| name | what it is |", "| --- | --- |"]
            plugins = find_plugins(plugin_kind).values()
            lines += [f"| `{plugin.name}` | {cell_text(plugin.summary)} |" for plugin in plugins]
    return "\n".join(lines) + "\n"


def method_row(method: Plugin) -> str:
    """A method as a row of its table; the year is a link to the paper."""
    docstring = ast.get_docstring(ast.parse(method.path.read_text(encoding="utf-8"))) or ""
    address = re.search(r"https?://[^\s;,]+[^\s;,.]", docstring)
    year = str(method.constants["year"])
    learns_from = ", ".join(["images", *sorted(needs_of(method, method.defaults))])
    linked = f"[{year}]({address[0]})" if address else year
    return f"| `{method.name}` | {linked} | {learns_from} | {cell_text(method.summary)} |"


def cell_text(text: str) -> str:
    """The text as a cell of a Markdown table."""
    return text.replace("|", r"\|")


def notebooks() -> list[Path]:
    """The notebooks of this folder."""
    return sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def notebook_page(path: Path) -> str:
    """A notebook as a page: its texts and its code, without running it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(notebook_cells(cells)) + f"\n\n[Download this notebook]({path.name})\n"


def notebook_cells(cells: list[dict[str, object]]) -> Iterator[str]:
    """The cells as Markdown."""
    for cell in cells:
        source = cell["source"]
        text = source if isinstance(source, str) else "".join(source)  # type: ignore[arg-type]
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


def results_page(name: str) -> str:
    """The page of the committed records of a folder, made from a copy, so that nothing in it changes."""
    with TemporaryDirectory() as temporary:
        copy = Path(temporary) / name
        shutil.copytree(ROOT / "results" / name, copy)
        command = [sys.executable, str(ROOT / "run_bench.py"), "report", "--results", str(copy), "--html"]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            raise RuntimeError(f"the report of results/{name} failed: {finished.stderr}")
        return (copy / "report.html").read_text(encoding="utf-8")
