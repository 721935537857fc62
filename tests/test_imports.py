"""What importing costs: commands that plan or report answer at once, because nothing heavy is imported for them.

Who may import whom is import-linter's business; its layers are in pyproject.toml.
"""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "pandas", "timm", "seaborn", "jinja2")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "cli cli.listing cli.report plugins.discovery planning.build planning.jobs records.store",
            HEAVY,
        ),
        ("report.render report.compare report.comparison_formats report.card report.page report.plots", HEAVY[:2]),
    ],
)
def test_nothing_heavy_is_imported(modules: str, absent: tuple[str, ...]) -> None:
    """The command line, plans and records need none of the heavy packages; reports need no torch."""
    code = (
        f"import sys; from importlib import import_module\nfor name in {modules.split()!r}:\n"
        f"    import_module('sslbench.bench.' + name)\nassert not set({absent!r}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_exist() -> None:
    """Each public name can be imported from ``sslbench``, and the list for type checkers is the list for Python."""
    import ast
    import inspect

    import sslbench

    typed = {
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(sslbench)))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert typed == set(sslbench.__all__) == {name for name in sslbench.__all__ if getattr(sslbench, name)}
