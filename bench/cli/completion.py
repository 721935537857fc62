"""Completion of words in the shell with argcomplete: commands, options, and the names of plugins and settings.

The shell starts this program with the line so far in COMP_LINE. The command of that line builds its parser as always;
`Parser.parse_args` then calls `complete`, which prints what can come next and ends the process.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn, get_args, get_origin

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.lexers import split_line

from ..plugins.discovery import FOLDERS, find_plugins
from ..plugins.settings import Setting
from ..training.recipe import PRESETS, RECIPE_SETTINGS
from .options import build_parser

Names = Callable[[str, tuple[str, ...]], Iterable[str]]  # word so far, files of --plugin -> words that it may become


def words_of_line(commands: Iterable[str]) -> list[str]:
    """The complete words of the shell's line, without the program.

    If there are none, prints the commands and the options of ``run``, and ends the process.
    """
    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    start = int(os.environ["_ARGCOMPLETE"])  # 1 for "sslbench", 2 for "python run_bench.py", 3 for "python -m sslbench"
    if not words[start:]:
        parser = build_parser("run")
        parser.add_argument("command", choices=sorted(commands))
        complete(parser)
    if not words[start].startswith("-"):
        os.environ["_ARGCOMPLETE"] = str(start + 1)  # the command's parser sees only the words after the command
    return list(words[start:])


def complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Prints how the line can go on, and ends the process."""
    command = parser.prog.split()[-1]
    for action in parser._actions:
        names = COMPLETERS.get(f"{command} {action.dest}") or COMPLETERS.get(action.dest)
        if names and not action.choices:
            action.completer = completer_of(names)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, exit_method=sys.exit)
    raise SystemExit


def completer_of(names: Names) -> Callable[..., list[str]]:
    """The function that argcomplete calls for an option whose words ``names`` gives."""

    def completer(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
        return list(names(prefix, tuple(getattr(parsed_args, "plugin", None) or ())))

    return completer


def plugin_names(kind: str, *others: str) -> Names:
    """The names of all plugins of a kind, and other words."""
    return lambda prefix, extra: [*find_plugins(kind, extra), *others]


def in_list(names: Names) -> Names:
    """Words for the last place of a list such as "a,b"; those that are in it already are left out."""

    def words(prefix: str, extra: tuple[str, ...]) -> list[str]:
        start, comma, last = prefix.rpartition(",")
        used = set(start.split(","))
        return [start + comma + word for word in names(last, extra) if word not in used]

    return words


def methods_and_checkpoints(prefix: str, extra: tuple[str, ...]) -> list[str]:
    """Methods by name; registered checkpoints after METHOD@; files after file/."""
    if prefix.startswith("file/"):
        return [f"file/{path}" for path in FilesCompleter()(prefix.removeprefix("file/"))]
    if "@" in prefix:
        return [*checkpoint_names(prefix, extra), "all@published"]
    return [*find_plugins("method", extra), "all", "timm/", "torchvision/", "hf/", "file/"]


def checkpoint_names(prefix: str, extra: tuple[str, ...]) -> list[str]:
    """All registered checkpoints, METHOD@NAME."""
    from ..checkpoints.registry import registered_checkpoints

    return [checkpoint.token for checkpoint in registered_checkpoints(find_plugins("method", extra).values())]


def listed_names(prefix: str, extra: tuple[str, ...]) -> list[str]:
    """What can come after ``list``."""
    from .listing import WORDS

    plugins = [name for kind in FOLDERS for name in find_plugins(kind, extra)]
    return [*WORDS, *plugins, *(checkpoint_names(prefix, extra) if "@" in prefix else ())]


def settings(prefix: str, extra: tuple[str, ...]) -> list[str]:
    """Plugins with settings for the first part of PLUGIN.KEY=VALUE, then the keys, then the values of a choice."""
    owners = {name: plugin.settings for kind in FOLDERS for name, plugin in find_plugins(kind, extra).items()}
    owners = {name: found for name, found in {**owners, "recipe": RECIPE_SETTINGS}.items() if found}
    owner, dot, key = prefix.partition(".")
    if not dot:
        matching = [name for name in owners if name.startswith(owner)]
        if len(matching) > 1:
            return [f"{name}." for name in matching]
        owner = "".join(matching)
    name, equals, _ = key.partition("=")
    known = owners.get(owner, {})
    if equals:
        return [f"{owner}.{name}={value}" for value in choices(known[name])] if name in known else []
    return [f"{owner}.{name}=" for name in known]


def choices(setting: Setting) -> list[str]:
    """The values of a setting that has only few; else none."""
    if setting.kind is bool:
        return ["true", "false"]
    return [str(value) for value in get_args(setting.kind)] if str(get_origin(setting.kind)).endswith("Literal") else []


COMPLETERS: dict[str, Names] = {  # by the destination of an option, in any command or in the one named before it
    "methods": in_list(methods_and_checkpoints),
    "method": plugin_names("method"),
    "list name": listed_names,
    "fetch names": checkpoint_names,
    "protocol": in_list(plugin_names("protocol", "all")),
    "encoder": plugin_names("encoder", "timm/", "torchvision/"),
    "dataset": plugin_names("dataset"),
    "pretrain_dataset": plugin_names("dataset"),
    "preset": lambda prefix, extra: PRESETS,
    "set": settings,
    "device": lambda prefix, extra: ("auto", "cpu", "cuda"),
    "new kind": lambda prefix, extra: FOLDERS,
}
