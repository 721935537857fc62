"""A sweep in a file: the options of ``run`` as TOML, some of them with several values.

Each key at the top is an option of ``run`` by its name without dashes, ``[set]`` has settings as ``--set`` takes them,
and each key of ``[sweep]`` is an option or a setting with a list of values. Every combination of these values is run.
"""

from __future__ import annotations

import itertools
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, did_you_mean
from ..plugins.settings import format_value
from .request import FIELDS, files_by_method, make_request, setting_assignments

if TYPE_CHECKING:
    from ..planning.plan import Plan

FLAGS = {"skip_unreadable", *(word for word, (_, read) in FIELDS.items() if read is bool)}
NUMBERS = {"image_size", "limit"}
LISTS = {"methods", "protocol", "taps", "variant", "plugin", "checkpoint"}
PATHS = {"data_dir", "pretrain_data_dir", "results", "plugin"}
OPTIONS = {*FIELDS, "encoder", "encoder_from", "skip_unreadable"}
SECTIONS = ("set", "sweep")
EXCLUSIVE = {"encoder": "encoder_from", "encoder_from": "encoder"}


@dataclass(frozen=True)
class GridFile:
    """What a file says: options and settings with one value, and those with several."""

    path: Path
    options: dict[str, Any]  # word -> value, as `make_request` takes them
    settings: dict[str, Any]  # "plugin.key" -> value
    sweep: dict[str, list[Any]]  # word or "plugin.key" -> values
    lines: dict[str, int]  # the same names -> line in the file

    def with_options(self, given: Mapping[str, Any]) -> GridFile:
        """The same with the options of a command line in place of the file's."""
        given = dict(given)
        texts = setting_assignments(given.pop("settings", ()))
        settings = dict(text.split("=", 1) for text in texts if "=" in text)
        if wrong := [text for text in texts if "=" not in text]:
            raise UserError(f"--set {wrong[0]}: write it as plugin.key=value, for example moco.temperature=0.2.")
        replaced = {*given, *(EXCLUSIVE[word] for word in given if word in EXCLUSIVE), *settings}
        return replace(
            self,
            options={word: value for word, value in self.options.items() if word not in replaced} | given,
            settings=self.settings | settings,
            sweep={name: values for name, values in self.sweep.items() if name not in replaced},
        )

    def plans(self, defaults: Mapping[str, Any]) -> list[tuple[str, Plan]]:
        """What distinguishes each combination, as text, and its plan; a cell is in the first plan that has it.

        ``defaults`` are the values of options that neither the file nor the command line gives.
        Raises UserError for a mistake, with the file and the line of the option that it names.
        """
        from ..planning.build import build_plan

        found: list[tuple[str, Plan]] = []
        seen: set[str] = set()
        for values in itertools.product(*self.sweep.values()):
            point = dict(zip(self.sweep, values, strict=True))
            options, settings = {**defaults, **self.options}, dict(self.settings)
            for name, value in point.items():
                (settings if "." in name else options)[name] = value
            try:
                if not options.get("methods"):
                    raise UserError("methods: names nothing; write for example methods = ['rotnet', 'moco'].")
                plan = build_plan(make_request({**options, "settings": settings}))
            except UserError as error:
                raise UserError(f"{self.place(str(error))}: {error}") from None
            jobs = []
            for job in plan.jobs:
                cells = tuple(cell for cell in job.cells if cell.key not in seen)
                seen |= {cell.key for cell in cells}
                jobs += [replace(job, cells=cells)] if cells else []
            title = ", ".join(f"{name.replace('_', '-')} = {format_value(value)}" for name, value in point.items())
            found.append((title, replace(plan, jobs=tuple(jobs))))
        return found

    def place(self, message: str) -> str:
        """The file, with the line of the option or setting that an error begins with."""
        start = re.match(r"--set ([\w.]+)|--([\w-]+)|([\w.]+) =|([\w]+):", message)
        name = next(filter(None, start.groups()), "") if start else ""
        line = self.lines.get(name) or self.lines.get(name.replace("-", "_"))
        return f"{self.path}, line {line}" if line else str(self.path)


def read_grid(path: Path) -> GridFile:
    """The content of a file. Raises UserError, with its line, for what is not TOML, not an option or not its type."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); give a .toml file.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not TOML ({str(error).lower()}); fix the file.") from None
    grid = GridFile(path, {}, {}, {}, key_lines(text))
    for key, value in content.items():
        if key not in SECTIONS:
            word = known_word(grid, key, {*OPTIONS, *SECTIONS})
            grid.options[word] = checked_value(grid, word, value)
    for key, value in flat_table(grid, "set", content.get("set", {})).items():
        check_setting_name(grid, key)
        grid.settings[key] = value
    for key, values in flat_table(grid, "sweep", content.get("sweep", {})).items():
        name = key if "." in key else known_word(grid, key, OPTIONS - {"results"})
        if not isinstance(values, list) or not values:
            raise mistake(grid, name, f"{values!r} is not a list of values; write for example {key} = ['a', 'b']")
        grid.sweep[name] = values if "." in name else [checked_value(grid, name, value) for value in values]
        if name in grid.options or name in grid.settings:
            raise mistake(grid, name, "is in [sweep] and has one value above; remove one of them")
    return grid


def known_word(grid: GridFile, key: str, known: Iterable[str]) -> str:
    """The option's word. Raises UserError for a key that is none."""
    word = key.replace("-", "_")
    if word not in known:
        names = [name.replace("_", "-") for name in known]
        raise mistake(grid, word, f"there is no such option. {did_you_mean(key, names)}")
    return word


def check_setting_name(grid: GridFile, key: str) -> None:
    """Raises UserError for a key of [set] that is not plugin.key."""
    if "." not in key:
        raise mistake(grid, key, "is not a setting; write plugin.key, for example moco.temperature = 0.2")


def flat_table(grid: GridFile, name: str, table: Any) -> dict[str, Any]:
    """A table in which moco.temperature, "moco.temperature" and a table [set.moco] mean the same."""
    if not isinstance(table, dict):
        raise mistake(grid, name, f"is not a table; write [{name}] on a line of its own, and its keys below")
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= {f"{key}.{inner}": one for inner, one in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def checked_value(grid: GridFile, word: str, value: Any) -> Any:
    """An option's value, with paths relative to the file. Raises UserError for a value of another type."""
    texts = value if isinstance(value, list) else [value]
    if word in FLAGS:
        fits, expected = isinstance(value, bool), "true or false"
    elif word in NUMBERS:
        fits, expected = type(value) is int, "a whole number"
    elif word == "seeds":
        fits, expected = bool(texts) and all(type(one) is int and one >= 0 for one in texts), "a list of whole numbers"
    elif word == "checkpoint" and isinstance(value, dict):
        fits, expected = all(isinstance(one, str) for one in value.values()), "a table of files"
    elif word in LISTS:
        fits, expected = all(isinstance(one, str) for one in texts), "a list of texts"
    else:
        fits, expected = isinstance(value, str), "a text in quotation marks"
    if not fits:
        raise mistake(grid, word, f"{value!r} is not {expected}")
    return with_paths(grid.path.parent, word, value)


def with_paths(folder: Path, word: str, value: Any) -> Any:
    """The value with paths relative to a folder, if it is of an option that takes paths."""

    def within(path: str) -> str:
        return os.path.join(folder, os.path.expanduser(path))

    if word in PATHS:
        return [within(one) for one in value] if isinstance(value, list) else within(value)
    if word == "checkpoint":
        files = value if isinstance(value, dict) else files_by_method(value)
        return {method: within(file) for method, file in files.items()}
    if word == "methods":
        words = as_list(value) if isinstance(value, list) else [one.strip() for one in value.split(",")]
        return [f"file/{within(one.removeprefix('file/'))}" if one.startswith("file/") else one for one in words]
    return value


def as_list(value: Any) -> list[str]:
    """One text or several as a list."""
    return list(value) if isinstance(value, list) else [value]


def key_lines(text: str) -> dict[str, int]:
    """The line of each key: an option's word, or plugin.key; tomllib does not say it."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.\"'-]+)\s*\]", line):
            table = re.sub(r"[\"' ]", "", header[1]).partition(".")[2]
            lines.setdefault(re.sub(r"[\"' ]", "", header[1]), number)
        elif key := re.match(r"\s*([\w.\"' -]+?)\s*=", line):
            name = re.sub(r"[\"' ]", "", key[1])
            name = f"{table}.{name}" if table else name
            lines.setdefault(name if "." in name else name.replace("-", "_"), number)
    return lines


def mistake(grid: GridFile, name: str, reason: str) -> UserError:
    """The error of a key, with its line in the file."""
    line = grid.lines.get(name)
    place = f"{grid.path}, line {line}" if line else str(grid.path)
    shown = name if "." in name else name.replace("_", "-")
    return UserError(f"{place}: {shown}: {reason}")
