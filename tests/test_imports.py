"""Who may import whom: the table of imports, enforced on the source text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"bench", "methods", "protocols"}
HEAVY = {"torch", "torchvision", "pandas", "timm", "seaborn"}
MAY = {
    "methods": (
        "bench.method",
        "bench.images.augment",
        "bench.images.colour",
        "bench.encoders",
        "bench.errors",
        "methods._",
    ),
    "protocols": (
        *(
            "bench.protocol",
            "bench.evaluation.representation",
            "bench.evaluation.probes",
            "bench.statistics",
            "bench.errors",
            "bench.data",
        ),
        "protocols._",
    ),
    "bench": ("bench",),
}
FILES = [path for folder in MAY for path in sorted((ROOT / folder).rglob("*.py"))]
LIGHT = [
    ROOT / "bench" / f"{name}.py"
    for name in ("cli", "listing", "plugins", "plan", "planning", "jobs", "results", "recipe", "records")
]
TORCHLESS = [
    *(ROOT / "bench" / f"{name}.py" for name in ("report", "compare", "verdicts", "card")),
    *(p for part in ("plots", "page") for p in (ROOT / "bench" / part).glob("*.py")),
]


def imports(tree: ast.AST, *, top: bool = False) -> Iterator[str]:
    """Names of the modules imported; with ``top``, only those that importing the file itself imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not top or not (
            isinstance(node, ast.FunctionDef) or "TYPE_CHECKING" in ast.unparse(node).partition("\n")[0]
        ):
            yield from imports(node, top=top)


def reached(path: Path) -> set[str]:
    """All top-level packages that importing the file imports, through our own modules too."""
    seen, found, todo = set[Path](), set[str](), [path]
    while todo:
        if (path := todo.pop()) in seen:
            continue
        seen.add(path)
        for name in imports(ast.parse(path.read_text(encoding="utf-8")), top=True):
            parts = name.split(".")
            found.add(parts[0])
            stems = (ROOT.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)) if parts[0] in OURS else ()
            todo += [p for stem in stems for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_it_may(path: Path) -> None:
    """Plugins know the contracts and the shared parts of their folder, and the engine knows no plugin."""
    of_ours = [name for name in imports(ast.parse(path.read_text(encoding="utf-8"))) if name.split(".")[0] in OURS]
    allowed = MAY[path.relative_to(ROOT).parts[0]]
    assert [name for name in of_ours if not name.startswith(allowed)] == []


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.name)
def test_planning_needs_no_heavy_import(path: Path) -> None:
    """The command line, the plugins, the plan and the records are there without torch, pandas, timm or seaborn."""
    assert not reached(path) & HEAVY


@pytest.mark.parametrize("path", TORCHLESS, ids=lambda path: path.name)
def test_reports_never_import_torch(path: Path) -> None:
    """Tables and plots are made without torch, in a function's body neither."""
    assert not (
        reached(path) | {name.split(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")))}
    ) & {"torch", "torchvision", "timm"}
