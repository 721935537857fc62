"""The web site of the documentation: its generated pages, and that a built page loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sslbench.bench.plugins.discovery import ROOT, find_plugins
from sslbench.bench.plugins.method_kinds import KINDS

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not in a wheel")


@pytest.fixture(scope="module")
def site_pages() -> ModuleType:
    """The hook that makes pages."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_methods_are_listed_by_kind(site_pages: ModuleType) -> None:
    """Each method is in one row, below its kind, with its year, its paper and what it learns from; oldest first."""
    text = site_pages.methods_page()
    parts = dict(zip(*[iter(re.split(r"^## (.*)\n", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    for name, method in find_plugins("method").items():
        assert (
            parts[method.constants["kind"].capitalize()].count(f"| `{name}` | [{method.constants['year']}](http") == 1
        )
    assert [kind.capitalize() for kind in KINDS] == list(parts)[: len(KINDS)]
    assert "| `rotnet` | [2018](https://arxiv.org/abs/1803.07728) | images |" in parts["Pretext task"]
    assert "| `clip` | [2021](https://arxiv.org/abs/2103.00020) | images, captions |" in parts["Cross-modal"]
    assert parts["Generative"].index("`denoising`") < parts["Generative"].index("`mae`")
    assert "| `linear` |" in parts["Protocols"]


def test_pages_name_sections_of_the_readme(site_pages: ModuleType) -> None:
    """Every section that a page asks for exists, and generated tables and figures are left out of it."""
    sections = site_pages.readme_sections()
    wanted = [
        heading
        for page in (ROOT / "docs").glob("*.md")
        for heading in re.findall(r"<!-- README: (.*?) -->", page.read_text(encoding="utf-8"))
    ]
    assert len(wanted) >= 5
    assert set(wanted) <= sections.keys()
    assert not [heading for heading in wanted if "<!-- from" in sections[heading] or "](results/" in sections[heading]]


def test_a_notebook_becomes_a_page(site_pages: ModuleType, tmp_path: Path) -> None:
    """Text stays text, and code becomes a block of code."""
    path = tmp_path / "two.ipynb"
    path.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# Two\\n", "lines"]},'
        '{"cell_type": "code", "source": "a = 1\\nb = 2"}]}',
        encoding="utf-8",
    )
    text = site_pages.notebook_page(path)
    assert text == "# Two\nlines\n\n```python\na = 1\nb = 2\n```\n\n[Download this notebook](two.ipynb)\n"


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """A strict build succeeds; no page, style sheet or font of it comes from another place; all parts are there."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text(encoding="utf-8")
             for path in (tmp_path / "site").rglob("*.html")}  # fmt: skip
    for name, text in pages.items():
        text = re.sub(r"<script>.*?</script>|<pre.*?</pre>", "", text, flags=re.DOTALL)
        loaded = re.findall(
            r"<(?!a\b)[a-z]+\b[^>]*?\s(?:src|href|data|poster|srcset)=[\"']?(?:https?:)?//[^\s>]*", text
        )
        assert loaded == [], name
    for path in (tmp_path / "site").rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path
    assert 'id="leaderboard"' in pages["results/synthetic.html"]
    assert 'id="leaderboard"' in pages["results/cifar10-jpeg.html"]
    for name in ("Method", "Protocol", "Encoder", "DatasetSource"):
        assert f'id="sslbench.{name}"' in pages["contracts.html"]
    for name in ("run", "load", "compare", "choose", "encoder", "features"):
        assert f'id="sslbench.{name}"' in pages["python.html"]
    assert "README:" not in "".join(pages[name] for name in ("words.html", "quick_start.html", "plugins.html"))
