"""Which code computed a number: an identity of a plugin's source and of everything that it imports.

A record and a cached encoder may be reused only while the code that made them is the same. A file of the product says
so by ``REVISION = 2`` (1 where there is none), which is raised when numbers change; the generated list
``revisions.json`` holds each file's revision and the hash of its source without comments and docstrings. A file that
differs from the list (edited in place, or added) counts with its hash, and so does every file of the user.

``python -m sslbench.bench.plugins.code_identity`` renews the list; ``--check`` fails where it is stale.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ..errors import UserError
from .discovery import PACKAGE, ROOT

LIST = Path(__file__).with_name("revisions.json")
COMPUTING = (
    *("methods", "protocols"),
    *("bench/data", "bench/encoders", "bench/evaluation", "bench/images", "bench/training"),
)
"""Folders whose code decides numbers; the rest of the engine plans, stores and reports."""
COMPUTING_FILES = ("bench/method.py", "bench/protocol.py", "bench/precision.py", "bench/statistics.py")
INSTALLED = tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")})
INSTALLED_FOLDERS = {"site-packages", "dist-packages"}  # also of a user, and of the system below a virtual environment


def code_identity(paths: Iterable[Path]) -> dict[str, str]:
    """What a key must hold of the code in these files and in all that they import, by file.

    Empty for code of the product as it was released at revision 1; "revision 2" for a raised revision; the hash of the
    source for any other file. Modules of installed packages and of Python count as unchanged.
    """
    listed = read_list()
    found: dict[str, str] = {}
    for path in sorted(imported_files(paths)):
        name = product_name(path)
        if name is not None and not is_computing(name):
            continue
        digest = source_hash(path.read_bytes())
        if name is None:
            found[path.name] = f"{found[path.name]} {digest}" if path.name in found else digest
        elif listed.get(name, {}).get("source") != digest:
            found[name] = digest
        elif (revision := listed[name]["revision"]) != 1:
            found[name] = f"revision {revision}"
    return found


def imported_files(paths: Iterable[Path]) -> set[Path]:
    """The files themselves and, through all their imports, every other file outside of installed packages."""
    found, waiting = set[Path](), [path.resolve() for path in paths]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += direct_imports(path)
    return found


def direct_imports(path: Path) -> list[Path]:
    """The files that a source file imports anywhere in its text, without running any of them."""
    found: list[Path] = []
    for level, module, names in import_statements(path.read_bytes(), path):
        if level:
            found += relative_import(path.parents[level - 1], module, names)
        elif module == PACKAGE:
            found += public_import(names)
        else:
            found += absolute_import(module or "", names)
    return [file.resolve() for file in found]


@cache
def import_statements(source: bytes, path: Path) -> list[tuple[int, str | None, tuple[str, ...]]]:
    """Level, module and names of each import in a source."""
    found: list[tuple[int, str | None, tuple[str, ...]]] = []
    for node in ast.walk(parse(source, path)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module, tuple(alias.name for alias in node.names)))
    return found


def relative_import(folder: Path, module: str | None, names: tuple[str, ...]) -> Iterator[Path]:
    """Files that ``from .module import names`` reads, seen from ``folder``."""
    place = folder.joinpath(*module.split(".")) if module else folder
    for candidate in (place, *(place / name for name in names)):
        yield from (file for file in (candidate.with_suffix(".py"), candidate / "__init__.py") if file.is_file())


def absolute_import(module: str, names: tuple[str, ...]) -> Iterator[Path]:
    """Files that ``import module`` or ``from module import names`` reads, except those of installed packages.

    The current folder is searched first, as ``--encoder-from`` does.
    """
    top, *rest = module.split(".")
    if top == PACKAGE:
        yield from relative_import(ROOT, ".".join(rest) or None, names)
        return
    spec = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None or is_installed(spec.origin or ""):
        return
    if spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin)
    for place in map(Path, spec.submodule_search_locations or ()):
        if not is_installed(str(place)):
            for length in range(len(rest) + 1):
                yield from relative_import(place, ".".join(rest[:length]) or None, names if length == len(rest) else ())


def is_installed(place: str) -> bool:
    """Whether a file or folder belongs to Python itself or to an installed package."""
    return place.startswith(INSTALLED) or not INSTALLED_FOLDERS.isdisjoint(Path(place).parts)


def public_import(names: tuple[str, ...]) -> Iterator[Path]:
    """Files that ``from sslbench import names`` reads: the homes of the names, and not all of the package."""
    door = next(file for file in (ROOT / PACKAGE / "__init__.py", ROOT / "__init__.py") if file.is_file())
    for level, module, provided in import_statements(door.read_bytes(), door):
        if level and (wanted := tuple(name for name in provided if name in names)):
            yield from relative_import(ROOT, module, wanted)


def product_name(path: Path) -> str | None:
    """The path of a file below the product's root, with slashes; None for a file of the user."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else None


def is_computing(name: str) -> bool:
    """Whether a product file decides numbers."""
    return name in COMPUTING_FILES or name.startswith(tuple(f"{folder}/" for folder in COMPUTING))


@cache
def source_hash(source: bytes) -> str:
    """Hex digest of a source without comments, docstrings and blank lines, the same under every version of Python."""
    text = source.decode("utf-8").replace("\r\n", "\n")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                for row in range(first.lineno - 1, first.end_lineno or first.lineno):
                    lines[row] = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    code = "\n".join(line.rstrip() for line in lines if line.strip())
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def parse(source: bytes, path: Path) -> ast.Module:
    """The syntax tree of a source. Raises UserError where it is not Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as Python ({error}); fix the file.") from None


@cache
def read_list() -> dict[str, dict[str, Any]]:
    """The generated list: product file -> its revision and the hash of its source."""
    return dict(json.loads(LIST.read_text(encoding="utf-8"))) if LIST.is_file() else {}


def current_list() -> dict[str, dict[str, Any]]:
    """What the list must hold for the files as they are now."""
    paths = [path for folder in COMPUTING for path in (ROOT / folder).rglob("*.py")]
    paths += [ROOT / name for name in COMPUTING_FILES]
    rows = {}
    for path in sorted(paths):
        source = path.read_bytes()
        rows[str(product_name(path))] = {"revision": declared_revision(source), "source": source_hash(source)}
    return rows


def declared_revision(source: bytes) -> int:
    """The value of a file's ``REVISION = ...``, 1 where it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "REVISION":
            return int(ast.literal_eval(node.value))
    return 1


def main() -> int:
    """Renews the list, or with ``--check`` names the files that differ from it and returns 1."""
    listed, current = read_list(), current_list()
    changed = [name for name in {**listed, **current} if listed.get(name) != current.get(name)]
    if "--check" not in sys.argv:
        LIST.write_text(json.dumps(current, indent=1) + "\n", encoding="utf-8")
        return 0
    for name in changed:
        print(
            f"{name}: its code differs from revisions.json. If it can change a number, raise REVISION in the file; "
            f"then run python -m {PACKAGE}.bench.plugins.code_identity.",
            file=sys.stderr,
        )
    return 1 if changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
