"""The command ``list``: plugins, their settings, and registered checkpoints."""

from __future__ import annotations

import argparse
import ast
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable

from ..errors import UserError, did_you_mean
from ..plugins.discovery import FOLDERS, Plugin, find_plugins, plugin_summaries
from ..plugins.settings import format_value
from ..training.recipe import PRESETS, RECIPE_SETTINGS
from .checkpoint_listing import (
    NOTE,
    add_filters,
    checkpoint_table,
    describe_checkpoint,
    given_filters,
    selected,
)
from .options import Parser, add_plugin_option

KINDS = {f"{kind}s": kind for kind in FOLDERS}  # the word that lists all plugins of a kind
WORDS = (*KINDS, "recipe", "checkpoints")  # what can be listed apart from a plugin or a checkpoint by its name

MORE = """\
`list NAME` shows a plugin's settings; change one with --set NAME.KEY=VALUE.
`list methods` (protocols, datasets, encoders) shows one kind.
`list recipe` shows how all methods are pretrained, and the presets.
`list checkpoints` shows published weights, and `list METHOD@NAME` one of them."""


def list_command(words: list[str]) -> int:
    """Prints all plugins or those of one kind, a plugin's description, the recipe, or registered checkpoints."""
    options = listing_parser().parse_args(words)
    if options.name != "checkpoints" and (filters := given_filters(options)):
        raise UserError(f"{filters[0]} selects checkpoints; write `list checkpoints {filters[0]} …`.")
    print(listing(options.name, tuple(options.plugin), options, terminal_width()))
    return 0


def listing_parser() -> Parser:
    """The options of ``list``."""
    parser = Parser(
        "list",
        description="Lists methods, protocols, data sets and encoders. With a name, shows its settings; "
        "`list methods` (protocols, datasets, encoders) shows one kind, `list recipe` how all methods are pretrained, "
        "`list checkpoints` published weights, and `list METHOD@NAME` one of them.",
    )
    parser.add_argument("name", nargs="?", help="a plugin, a checkpoint METHOD@NAME, or one of the words above")
    add_plugin_option(parser)
    add_filters(parser)
    return parser


def terminal_width() -> int | None:
    """The characters of a line of the terminal; None if the output goes elsewhere, where nothing is shortened."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def listing(name: str | None, extra: tuple[str, ...], filters: argparse.Namespace, width: int | None) -> str:
    """What ``list`` prints for a word, with lines of at most ``width`` characters where words allow it.

    Raises UserError for a word that names nothing.
    """
    if name == "checkpoints":
        from ..checkpoints.registry import registered_checkpoints

        chosen = selected(registered_checkpoints(find_plugins("method", extra).values()), filters)
        table, hidden = checkpoint_table(chosen, width)
        left_out = f"At this width without {', '.join(hidden)}; a wider terminal or a pipe shows everything. "
        return f"{table}\n\n{wrapped((left_out if hidden else '') + NOTE, width or 120)}"
    if name and "@" in name:
        from ..checkpoints.resolve import find_registered

        found = find_registered(name, find_plugins("method", extra), "list")
        return "\n\n".join(wrapped(describe_checkpoint(checkpoint), width) for checkpoint in found)
    if name == "recipe":
        return wrapped(describe_recipe(), width)
    if name and name not in KINDS:
        return "\n\n".join(wrapped(describe_plugin(plugin), width) for plugin in plugins_named(name, extra))
    kinds = [KINDS[name]] if name else FOLDERS
    return "\n\n".join([*(summaries(kind, extra, width) for kind in kinds), wrapped(MORE, width, hanging="  ")])


def summaries(kind: str, extra: tuple[str, ...], width: int | None) -> str:
    """One line per plugin of a kind, with its name and the first line of its docstring."""
    if kind == "method":
        return method_summaries(find_plugins(kind, extra).values(), width)
    lines = plugin_summaries(kind, extra)
    longest = max(map(len, lines), default=0)
    rows = [wrapped(f"  {name:{longest}}  {line}", width, " " * (longest + 4)) for name, line in lines.items()]
    return "\n".join([f"{kind}s", *rows])


def method_summaries(methods: Collection[Plugin], width: int | None) -> str:
    """One line per method, by kind and by the year of its paper; the oldest kind comes first."""
    longest = max((len(method.name) for method in methods), default=0)
    by_kind: dict[str, list[Plugin]] = {}
    for method in sorted(methods, key=lambda method: (method.constants.get("year") or 9999, method.name)):
        by_kind.setdefault(method.constants.get("kind") or "other", []).append(method)
    rows = ["methods"]
    for kind, members in by_kind.items():
        rows += ["", f"  {kind}"]
        for method in members:
            start = f"    {method.name:{longest}}  {method.constants.get('year') or '':4}  "
            rows.append(wrapped(start + method.summary, width, " " * len(start)))
    return "\n".join(rows)


def wrapped(text: str, width: int | None, hanging: str = "") -> str:
    """The text with its paragraphs filled to the width if one of its lines is longer.

    A line with an indentation stays a line of its own; what does not fit is indented further, or by ``hanging``.
    """
    if width is None or all(len(line) <= width for line in text.splitlines()):
        return text
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if not hanging and not any(line.startswith(" ") for line in lines):
            lines = [" ".join(lines)]
        paragraphs.append("\n".join(fill_line(line, width, hanging) for line in lines))
    return "\n\n".join(paragraphs)


def fill_line(line: str, width: int, hanging: str) -> str:
    """One line, broken between words; a path or an address that is longer than the width is not broken."""
    depth = len(line) - len(line.lstrip())
    indent = hanging or (" " * (depth + 4) if depth else "")
    return textwrap.fill(
        line, max(width, len(indent) + 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def plugins_named(name: str, extra: tuple[str, ...]) -> list[Plugin]:
    """The plugins of that name, of any kind. Raises UserError if there is none."""
    known = {kind: find_plugins(kind, extra) for kind in FOLDERS}
    matches = [plugins[name] for plugins in known.values() if name in plugins]
    if not matches:
        names = {name for plugins in known.values() for name in plugins} | {*WORDS}
        raise UserError(f"{name!r} is not known. {did_you_mean(name, names)}")
    return matches


def describe_recipe() -> str:
    """The settings of pretraining that all methods share, and the budgets of the presets."""
    lines = ["recipe: how every method is pretrained", "", "settings"]
    lines += [f"  --set recipe.{s.name}={format_value(s.default)}  ({s.allowed})" for s in RECIPE_SETTINGS.values()]
    lines += ["", "presets (--preset)"]
    lines += [f"  {name}: {assignments(values.items())}" for name, values in PRESETS.items()]
    return "\n".join(lines)


def describe_plugin(plugin: Plugin) -> str:
    """A plugin's docstring, settings, what presets change of them, and its registered checkpoints."""
    docstring = ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""
    lines = [f"{plugin.name} ({plugin.kind})", "", docstring]
    if plugin.settings:
        lines += ["", "settings"]
        lines += [
            f"  --set {plugin.name}.{s.name}={format_value(s.default) if s.known else '…'}  ({s.allowed})"
            for s in plugin.settings.values()
        ]
    changes = {"presets shorter than paper": plugin.constants.get("short_run_settings")}
    changes |= {f"preset {name}": values for name, values in (plugin.constants.get("presets") or {}).items()}
    for where, values in changes.items():
        if values:
            lines += ["", f"in {where}: {assignments(values.items())}"]
    if plugin.kind == "method":
        from ..checkpoints.registry import registered_checkpoints

        if tokens := [checkpoint.token for checkpoint in registered_checkpoints([plugin])]:
            lines += ["", "checkpoints", *(f"  {token}" for token in tokens)]
    return "\n".join(lines)


def assignments(values: Iterable[tuple[str, object]]) -> str:
    """Settings as "a=1, b=2"."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in values)
