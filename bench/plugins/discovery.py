"""The folder is the registry: finds plugins and reads their settings without importing them.

A plugin is a file. Its name is the file's name; its class is named like the file (case and
underscores aside); the first line of its docstring is what ``list`` prints; its settings are the
class's keyword-only arguments, or its fields where it is a dataclass. All of that is read from the
source text, so that ``list``, ``--help`` and the rejection of a typo need no heavy import.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from .settings import Setting, is_literal, literal

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"method": "methods", "protocol": "protocols", "dataset": "bench/data", "encoder": "bench/encoders"}
BASES = {  # class of a contract -> kind of plugin, and the module that defines it
    "Method": ("method", "bench.method"),
    "Protocol": ("protocol", "bench.protocol"),
    "DatasetSource": ("dataset", "bench.data"),
    "Encoder": ("encoder", "bench.encoders"),
}
PACKAGE = __name__.partition(".")[0]
NO_SETTINGS = {"data_dir"}  # it has a flag of its own and no default worth showing


@dataclass(frozen=True)
class Plugin:
    """A file that is a method, a protocol, a data set or an encoder."""

    kind: str
    name: str
    path: Path
    module: str | None  # import name; None for a file given by its path
    class_name: str
    summary: str
    settings: Mapping[str, Setting]
    constants: Mapping[str, Any] = field(default_factory=dict)  # plain class attributes, such as ``needs``
    functions: frozenset[str] = frozenset()  # those that it defines itself, or a base below the contract

    def load(self) -> type:
        """Imports the file and returns its class."""
        if self.module:
            return getattr(importlib.import_module(self.module), self.class_name)
        # By its whole path, since two files may share a name.
        name = f"sslbench_plugin_{self.name}_{hashlib.sha256(str(self.path).encode()).hexdigest()[:16]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, self.path)
            assert spec
            assert spec.loader
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception as error:
                del sys.modules[name]
                raise UserError(
                    f"{self.path}: fails on import ({type(error).__name__}: {error}); mend the file."
                ) from error
        return getattr(sys.modules[name], self.class_name)

    @property
    def defaults(self) -> dict[str, Any]:
        """Every setting at its default; one whose default is no literal is left to the class."""
        return {name: setting.default for name, setting in self.settings.items() if setting.known}


def plugins(kind: str, extra: tuple[str, ...] = ()) -> dict[str, Plugin]:
    """All plugins of a kind by name: our folder's, installed packages' (entry points) and files given by path."""
    found: dict[str, Plugin] = {}
    for plugin in (
        *ours(kind),
        *installed(kind),
        *(p for path in dict.fromkeys(extra) if (p := given(path)).kind == kind),
    ):
        if plugin.name in found:
            raise UserError(
                f"two {kind}s are called {plugin.name!r}: {found[plugin.name].path} and {plugin.path}; rename one file."
            )
        found[plugin.name] = plugin
    return found


def files(kind: str) -> list[Path]:
    """The files of our own folder, those with a leading underscore aside."""
    return sorted((ROOT / FOLDERS[kind]).glob("[!_]*.py"))


def ours(kind: str) -> Iterator[Plugin]:
    """The plugins in them."""
    for path in files(kind):
        yield read(path, f"{PACKAGE}.{FOLDERS[kind].replace('/', '.')}.{path.stem}", kind)


def summaries(kind: str, extra: tuple[str, ...] = ()) -> dict[str, str]:
    """What ``list`` prints of all plugins of a kind, by name; of our own files only the first line is read."""
    lines = {}
    for path in files(kind):
        with path.open(encoding="utf-8") as file:
            lines[path.stem] = file.readline().strip().strip('"')
    others = [*installed(kind), *(p for path in dict.fromkeys(extra) if (p := given(path)).kind == kind)]
    return lines | {plugin.name: plugin.summary for plugin in others}


def installed(kind: str) -> Iterator[Plugin]:
    """Modules that other packages declare under the entry point group ``sslbench.<kind>s``."""
    for entry in entries().select(group=f"sslbench.{kind}s"):
        spec = importlib.util.find_spec(entry.value)
        if spec and spec.origin:
            yield read(Path(spec.origin), entry.value, kind)


@cache
def entries() -> Any:
    """All installed packages' entry points, which take a moment to read."""
    return entry_points()


@cache
def given(path: str) -> Plugin:
    """The plugin in a file named by ``--plugin``; its kind is that of its base class."""
    if not Path(path).is_file():
        raise UserError(f"--plugin {path}: there is no such file; give the path of a .py file.")
    return read(Path(path).resolve(), None, None)


def read(path: Path, module: str | None, kind: str | None) -> Plugin:
    """Reads a plugin's source; raises UserError where it does not hold what a plugin must."""
    try:
        source = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); mend the file.") from None
    return parsed(source, path, module, kind)


@cache  # a report asks for every plugin once a cell
def parsed(source: str, path: Path, module: str | None, kind: str | None) -> Plugin:
    """What `read` gives, from a file's source."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{path}: not Python that can be read ({error}); mend the file.") from None
    wanted = path.stem.replace("_", "").lower()
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.lower() == wanted), None)
    if node is None:
        name = path.stem.title().replace("_", "")
        raise UserError(f"{path}: no class is named like the file; a plugin {path.name} needs a class {name}.")
    lineage = list(ancestry(node, tree, path))
    kind = kind or next((BASES[base.name][0] for base in lineage if base.name in BASES), None)
    if kind is None:
        raise UserError(f"{path}: class {node.name} derives from none of {', '.join(BASES)}; derive it from one.")
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    if not summary:
        raise UserError(f"{path}: the docstring's first line is what `list` prints; write one.")
    settings: dict[str, Setting] = {}
    constants: dict[str, Any] = {}
    for base in reversed(lineage):
        arguments, fields, plain = declared(base)
        settings = {**settings, **fields} if arguments is None else arguments
        constants |= plain
    settings = {name: s for name, s in settings.items() if name not in NO_SETTINGS}
    own = [base for base in lineage if base.name not in BASES]
    functions = frozenset(part.name for base in own for part in base.body if isinstance(part, ast.FunctionDef))
    return Plugin(kind, path.stem, path, module, node.name, summary, settings, constants, functions)


def ancestry(node: ast.ClassDef, tree: ast.Module, path: Path) -> Iterator[ast.ClassDef]:
    """The class and the classes that it derives from, as far as their source is ours or near the plugin's file."""
    yield node
    for base in node.bases:
        name = base.id if isinstance(base, ast.Name) else ""
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef) and statement.name == name:
                yield from ancestry(statement, tree, path)
            elif isinstance(statement, ast.ImportFrom) and name in {alias.name for alias in statement.names}:
                file = imported_file(statement, name, path)
                other = parse_file(file) if file else ast.Module([], [])
                for found in other.body:
                    if isinstance(found, ast.ClassDef) and found.name == name and file:
                        yield from ancestry(found, other, file)


def imported_file(statement: ast.ImportFrom, name: str, path: Path) -> Path | None:
    """The file that ``from ... import name`` in the file ``path`` reads; None outside sslbench and relative imports."""
    package, _, module = (statement.module or "").partition(".")
    if statement.level:
        folder, module = path.parents[statement.level - 1], statement.module or ""
    elif package == PACKAGE:
        folder, module = ROOT, module or BASES.get(name, ("", ""))[1]
    else:
        return None
    stem = folder.joinpath(*module.split("."))
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


@cache
def parse_file(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def declared(node: ast.ClassDef) -> tuple[dict[str, Setting] | None, dict[str, Setting], dict[str, Any]]:
    """Keyword-only arguments of ``__init__`` (None without one), dataclass fields, and plain class attributes."""
    arguments: dict[str, Setting] | None = None
    fields: dict[str, Setting] = {}
    constants: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            pairs = zip(statement.args.kwonlyargs, statement.args.kw_defaults, strict=True)
            arguments = {
                a.arg: Setting(a.arg, ast.unparse(a.annotation) if a.annotation else "str", literal(d), is_literal(d))
                for a, d in pairs
            }
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, annotation = statement.target.id, ast.unparse(statement.annotation)
            if annotation.startswith("ClassVar") or not is_dataclass(node):
                constants[name] = literal(statement.value)
            else:
                fields[name] = Setting(name, annotation, literal(statement.value), is_literal(statement.value))
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            constants[statement.targets[0].id] = literal(statement.value)
    return arguments, fields, constants


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether the class is decorated as a dataclass."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def named(name: str, known: Mapping[str, Plugin], flag: str) -> Plugin:
    """The plugin of that name; raises UserError with the nearest name."""
    if name not in known:
        raise UserError(f"{flag}: {name!r} is not known. {did_you_mean(name, known)}")
    return known[name]
