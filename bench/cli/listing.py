"""The verb that lists what there is to choose from."""

from __future__ import annotations

import ast

from ..errors import UserError, did_you_mean
from ..plugins import discovery as plugins
from ..plugins.settings import shown
from .options import Parser


def show_list(words: list[str]) -> int:
    """Prints what there is to choose from, or one plugin's settings."""
    made = Parser(
        prog="run_bench.py list",
        description="Methods, protocols, data sets and encoders; with a name, its settings; checkpoints, all of them.",
        allow_abbrev=False,
    )
    made.add_argument("name", nargs="?")
    made.add_argument("--plugin", action="append", default=[], metavar="FILE")
    options = made.parse_args(words)
    if options.name == "checkpoints":
        from ..checkpoints.registry import listing

        print(listing(plugins.plugins("method", tuple(options.plugin)).values()))
        return 0
    if options.name:
        known = {kind: plugins.plugins(kind, tuple(options.plugin)) for kind in plugins.FOLDERS}
        matches = [(kind, found[options.name]) for kind, found in known.items() if options.name in found]
        if not matches:
            names = {name for found in known.values() for name in found}
            raise UserError(f"{options.name!r} is not known. {did_you_mean(options.name, names)}")
        for kind, plugin in matches:
            print(described(kind, plugin))
        return 0
    for kind in plugins.FOLDERS:
        print(f"{kind}s")
        lines = plugins.summaries(kind, tuple(options.plugin))
        width = max(map(len, lines), default=0)
        print("\n".join(f"  {name:{width}}  {line}" for name, line in lines.items()), end="\n\n")
    print("`list NAME` shows a plugin's settings; change one with --set NAME.KEY=VALUE.")
    print("`list checkpoints` shows the weights that others trained.")
    return 0


def described(kind: str, plugin: plugins.Plugin) -> str:
    """A plugin's docstring and settings."""
    lines = [f"{plugin.name} ({kind})", "", ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""]
    if plugin.settings:
        lines += ["", "settings"]
        lines += [
            f"  --set {plugin.name}.{s.name}={shown(s.default) if s.known else '…'}  ({s.annotation})"
            for s in plugin.settings.values()
        ]
    if short := plugin.constants.get("short_run_settings"):
        lines += [
            "",
            "in presets shorter than paper: " + ", ".join(f"{k}={shown(v)}" for k, v in short.items()),
        ]
    for preset, changes in (plugin.constants.get("presets") or {}).items():
        lines += ["", f"in preset {preset}: " + ", ".join(f"{k}={shown(v)}" for k, v in changes.items())]
    return "\n".join(lines)
