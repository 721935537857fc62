"""The command ``list``: plugins, their settings, and registered checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ..errors import UserError, did_you_mean
from ..plugins.discovery import FOLDERS, Plugin, find_plugins, plugin_summaries
from ..plugins.settings import format_value
from ..training.recipe import PRESETS, RECIPE_SETTINGS
from .options import Parser, add_plugin_option

KINDS = {f"{kind}s": kind for kind in FOLDERS}  # the word that lists all plugins of a kind


def list_command(words: list[str]) -> int:
    """Prints all plugins, the docstring and settings of one, or all registered checkpoints."""
    parser = Parser(
        "list",
        description="Lists methods, protocols, data sets and encoders. With a name, shows its settings; "
        "`list methods` (protocols, datasets, encoders) shows one kind, `list recipe` how all methods are pretrained, "
        "`list checkpoints` published weights, and `list METHOD@NAME` one of them.",
    )
    parser.add_argument("name", nargs="?")
    add_plugin_option(parser)
    options = parser.parse_args(words)
    extra = tuple(options.plugin)
    if options.name == "checkpoints":
        from ..checkpoints.registry import checkpoint_listing

        print(checkpoint_listing(find_plugins("method", extra).values()))
    elif options.name and "@" in options.name:
        from ..checkpoints.registry import describe_checkpoint
        from ..checkpoints.resolve import find_registered

        found = find_registered(options.name, find_plugins("method", extra))
        print("\n\n".join(map(describe_checkpoint, found)))
    elif options.name in KINDS:
        print_summaries([KINDS[options.name]], extra)
    elif options.name == "recipe":
        print(describe_recipe())
    elif options.name:
        print_plugins_named(options.name, extra)
    else:
        print_summaries(FOLDERS, extra)
    return 0


def print_summaries(kinds: Iterable[str], extra: tuple[str, ...]) -> None:
    """Prints one line per plugin of these kinds."""
    for kind in kinds:
        print(f"{kind}s")
        summaries = plugin_summaries(kind, extra)
        width = max(map(len, summaries), default=0)
        print("\n".join(f"  {name:{width}}  {line}" for name, line in summaries.items()), end="\n\n")
    print("`list NAME` shows a plugin's settings; change one with --set NAME.KEY=VALUE.")
    print("`list checkpoints` shows published weights.")


def print_plugins_named(name: str, extra: tuple[str, ...]) -> None:
    """Prints the description of each plugin of that name. Raises UserError if there is none."""
    known = {kind: find_plugins(kind, extra) for kind in FOLDERS}
    matches = [plugins[name] for plugins in known.values() if name in plugins]
    if not matches:
        names = {name for plugins in known.values() for name in plugins} | {*KINDS, "recipe", "checkpoints"}
        raise UserError(f"{name!r} is not known. {did_you_mean(name, names)}")
    for plugin in matches:
        print(describe_plugin(plugin))


def describe_recipe() -> str:
    """The settings of pretraining that all methods share, and the budgets of the presets."""
    lines = ["recipe: how every method is pretrained", "", "settings"]
    lines += [f"  --set recipe.{s.name}={format_value(s.default)}  ({s.allowed})" for s in RECIPE_SETTINGS.values()]
    lines += ["", "presets (--preset)"]
    lines += [
        f"  {name}: " + ", ".join(f"{key}={format_value(value)}" for key, value in values.items())
        for name, values in PRESETS.items()
    ]
    return "\n".join(lines)


def describe_plugin(plugin: Plugin) -> str:
    """A plugin's docstring and settings."""
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
            lines += ["", f"in {where}: " + ", ".join(f"{key}={format_value(value)}" for key, value in values.items())]
    return "\n".join(lines)
