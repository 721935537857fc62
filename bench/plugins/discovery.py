"""Finds plugins and reads their settings without importing them.

A plugin is a file. The file's name is the plugin's name, and its class is named like the file (ignoring case and
underscores). The first line of its docstring is what ``list`` prints. Its settings are the class's keyword-only
arguments, or its fields if it is a dataclass. All of that is read from the source text, so that ``list``, ``--help``
and the rejection of a typo need no heavy import.
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
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import UserError, did_you_mean
from .settings import Setting, has_literal_value, literal_value

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"method": "methods", "protocol": "protocols", "dataset": "bench/data", "encoder": "bench/encoders"}
BASES = {  # base class -> kind of plugin, and the module that defines the base class
    "Method": ("method", "bench.method"),
    "Protocol": ("protocol", "bench.protocol"),
    "DatasetSource": ("dataset", "bench.data"),
    "Encoder": ("encoder", "bench.encoders"),
}
PACKAGE = __name__.partition(".")[0]
HIDDEN_SETTINGS = {"data_dir"}  # has an option of its own, --data-dir


@dataclass(frozen=True)
class Plugin:
    """What the source text of a method, protocol, data set or encoder says about it."""

    kind: str
    name: str
    path: Path
    module: str | None  # import name; None for a file given by its path
    class_name: str
    summary: str
    settings: Mapping[str, Setting]
    constants: Mapping[str, Any] = field(default_factory=dict)  # plain class attributes, such as ``needs``
    functions: frozenset[str] = frozenset()  # methods defined in its class or in its own base classes

    def load(self) -> type:
        """Imports the file and returns its class. Raises UserError if a file given by its path fails on import."""
        module = importlib.import_module(self.module) if self.module else self._import_file()
        loaded: type = getattr(module, self.class_name)
        return loaded

    def _import_file(self) -> ModuleType:
        # The module is named after path and content: two files may have the same name, and a file may be edited.
        content = str(self.path).encode() + self.path.read_bytes()
        name = f"sslbench_plugin_{self.name}_{hashlib.sha256(content).hexdigest()[:16]}"
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
                    f"{self.path}: fails on import ({type(error).__name__}: {error}); fix the file."
                ) from error
        return sys.modules[name]

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of every setting, except those that are computed and so only known to the class.

        Settings that were added later are left out too, see `without_later_defaults`.
        """
        return self.without_later_defaults({name: one.default for name, one in self.settings.items() if one.known})

    def without_later_defaults(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings without those of the class's ``later_settings`` that have the value given there.

        Such settings were added after records had been made, whose keys and cards must stay the same.
        """
        later: Mapping[str, Any] = self.constants.get("later_settings") or {}
        return {name: value for name, value in settings.items() if name not in later or later[name] != value}


def needs_of(method: Plugin, settings: Mapping[str, Any]) -> frozenset[str]:
    """What a method with these settings needs of a data set in addition to images."""
    conditional = method.constants.get("needs_if") or {}
    assigned = {f"{name}={value}" for name, value in settings.items()}
    return frozenset(method.constants.get("needs") or ()) | {
        conditional[setting] for setting in conditional.keys() & assigned
    }


def protocol_needs_of(protocol: Plugin) -> frozenset[str]:
    """What a protocol needs of a data set in addition to images; labels, if it does not say."""
    needs = protocol.constants.get("needs")
    return frozenset({"labels"} if needs is None else needs)


def find_plugins(kind: str, extra: tuple[str, ...] = ()) -> dict[str, Plugin]:
    """All plugins of a kind by name: built in, from installed packages (entry points), and the files ``extra``.

    Raises UserError if two have the same name.
    """
    found: dict[str, Plugin] = {}
    for plugin in (*built_in_plugins(kind), *external_plugins(kind, extra)):
        if plugin.name in found:
            raise UserError(
                f"two {kind}s are called {plugin.name!r}: {found[plugin.name].path} and {plugin.path}; rename one file."
            )
        found[plugin.name] = plugin
    return found


def plugin_named(name: str, known: Mapping[str, Plugin], option: str) -> Plugin:
    """The plugin of that name. Raises UserError with the nearest name; the message begins with ``option``."""
    if name not in known:
        raise UserError(f"{option}: {name!r} is not known. {did_you_mean(name, known)}")
    return known[name]


def plugin_files(kind: str) -> list[Path]:
    """The files of the built-in plugins of a kind: all of its folder without a leading underscore."""
    return sorted((ROOT / FOLDERS[kind]).glob("[!_]*.py"))


def built_in_plugins(kind: str) -> Iterator[Plugin]:
    """The plugins of a kind in this project's own folder."""
    for path in plugin_files(kind):
        yield read_plugin(path, f"{PACKAGE}.{FOLDERS[kind].replace('/', '.')}.{path.stem}", kind)


def external_plugins(kind: str, extra: tuple[str, ...]) -> Iterator[Plugin]:
    """The plugins of a kind from installed packages, and those among the files ``extra``."""
    yield from installed_plugins(kind)
    for path in dict.fromkeys(extra):
        if (plugin := plugin_in_file(path)).kind == kind:
            yield plugin


def plugin_summaries(kind: str, extra: tuple[str, ...] = ()) -> dict[str, str]:
    """What ``list`` prints of all plugins of a kind, by name. Reads only the first line of each built-in file."""
    lines = {}
    for path in plugin_files(kind):
        with path.open(encoding="utf-8") as file:
            lines[path.stem] = file.readline().strip().strip('"')
    return lines | {plugin.name: plugin.summary for plugin in external_plugins(kind, extra)}


def installed_plugins(kind: str) -> Iterator[Plugin]:
    """The modules that other packages declare under the entry point group ``sslbench.<kind>s``."""
    for entry in installed_entry_points().select(group=f"sslbench.{kind}s"):
        spec = importlib.util.find_spec(entry.value)
        if spec and spec.origin:
            yield read_plugin(Path(spec.origin), entry.value, kind)


@cache
def installed_entry_points() -> Any:
    """The entry points of all installed packages; importing their reader and reading them takes a moment."""
    from importlib.metadata import entry_points

    return entry_points()


@cache
def plugin_in_file(path: str) -> Plugin:
    """The plugin in a file named by ``--plugin``; its base class says of which kind it is."""
    if not Path(path).is_file():
        raise UserError(f"--plugin {path}: there is no such file; give the path of a .py file.")
    return read_plugin(Path(path).resolve(), None, None)


def read_plugin(path: Path, module: str | None, kind: str | None) -> Plugin:
    """What a plugin's file says about it. Raises UserError if the file breaks a rule that every plugin follows."""
    try:
        source = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fix the file.") from None
    return parse_plugin(source, path, module, kind)


@cache  # a report asks for every plugin once per cell
def parse_plugin(source: str, path: Path, module: str | None, kind: str | None) -> Plugin:
    """The same as `read_plugin`, from the file's text."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"{path}: not valid Python ({error}); fix the file.") from None
    node = plugin_class(tree, path)
    lineage = list(class_with_bases(node, tree, path))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    if not summary:
        raise UserError(f"{path}: the file has no docstring; `list` prints its first line, so write one.")
    settings, constants = merged_declarations(lineage)
    own = [base for base in lineage if base.name not in BASES]
    functions = frozenset(part.name for base in own for part in base.body if isinstance(part, ast.FunctionDef))
    return Plugin(
        kind or kind_of(lineage, path), path.stem, path, module, node.name, summary, settings, constants, functions
    )


def plugin_class(tree: ast.Module, path: Path) -> ast.ClassDef:
    """The class that is named like the file. Raises UserError if there is none."""
    wanted = path.stem.replace("_", "").lower()
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
            return node
    raise UserError(
        f"{path}: no class is named like the file; a plugin {path.name} needs a class {class_name_for(path.stem)}."
    )


def kind_of(lineage: list[ast.ClassDef], path: Path) -> str:
    """The kind of plugin of a class, by its base class. Raises UserError if it has none of a plugin."""
    for base in lineage:
        if base.name in BASES:
            return BASES[base.name][0]
    raise UserError(f"{path}: class {lineage[0].name} must be derived from one of {', '.join(BASES)}; fix the file.")


def class_name_for(name: str) -> str:
    """The usual class name of a plugin: ``barlow_twins`` -> ``BarlowTwins``."""
    return name.title().replace("_", "")


def class_with_bases(node: ast.ClassDef, tree: ast.Module, path: Path) -> Iterator[ast.ClassDef]:
    """The class and all its base classes, except those outside this project and outside the plugin's own package."""
    yield node
    for base in node.bases:
        if isinstance(base, ast.Name):
            for definition in class_definitions(base.id, tree, path):
                yield from class_with_bases(*definition)


def class_definitions(name: str, tree: ast.Module, path: Path) -> Iterator[tuple[ast.ClassDef, ast.Module, Path]]:
    """Where a class is defined, with the syntax tree and path of that file: here, or where it is imported from."""
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            yield statement, tree, path
        elif isinstance(statement, ast.ImportFrom) and name in {alias.name for alias in statement.names}:
            file = imported_file(statement, name, path)
            if file:
                yield from class_definitions(name, parse_file(file), file)


def imported_file(statement: ast.ImportFrom, name: str, path: Path) -> Path | None:
    """The file that ``from ... import name`` in the file ``path`` reads.

    None for an absolute import of another package than sslbench.
    """
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


def merged_declarations(lineage: list[ast.ClassDef]) -> tuple[dict[str, Setting], dict[str, Any]]:
    """The settings and plain class attributes of a class whose bases follow it in the list, as Python inherits them."""
    settings: dict[str, Setting] = {}
    constants: dict[str, Any] = {}
    for base in reversed(lineage):
        arguments, fields, plain = class_declarations(base)
        settings = settings | fields if arguments is None else arguments
        constants |= plain
    return {name: setting for name, setting in settings.items() if name not in HIDDEN_SETTINGS}, constants


def class_declarations(node: ast.ClassDef) -> tuple[dict[str, Setting] | None, dict[str, Setting], dict[str, Any]]:
    """Keyword-only arguments of ``__init__`` (None without an ``__init__``), dataclass fields, and class attributes."""
    arguments: dict[str, Setting] | None = None
    fields: dict[str, Setting] = {}
    constants: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            pairs = zip(statement.args.kwonlyargs, statement.args.kw_defaults, strict=True)
            arguments = {
                a.arg: Setting(
                    a.arg, ast.unparse(a.annotation) if a.annotation else "str", literal_value(d), has_literal_value(d)
                )
                for a, d in pairs
            }
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, annotation = statement.target.id, ast.unparse(statement.annotation)
            if annotation.startswith("ClassVar") or not is_dataclass(node):
                constants[name] = literal_value(statement.value)
            else:
                fields[name] = Setting(
                    name, annotation, literal_value(statement.value), has_literal_value(statement.value)
                )
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            constants[statement.targets[0].id] = literal_value(statement.value)
    return arguments, fields, constants


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether the class is decorated as a dataclass."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
