"""All that is known of one measured cell, and the command line that measures it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..errors import UserError, program_name
from ..plugins import discovery
from ..plugins.settings import format_value
from ..records.record import Record, file_stem
from ..training.recipe import PRESETS, Recipe

MANY = 8  # cells that still fit an error


def chosen(found: list[Record], wanted: str) -> Record:
    """The one record whose key or file name holds that text; raises UserError where there is none, or more than one."""
    stems = {file_stem(record): record for record in found}
    wanted = Path(wanted).name.removesuffix(".json")
    matches = [wanted] if wanted in stems else [stem for stem in stems if wanted in stem]
    if len(matches) == 1:
        return stems[matches[0]]
    shown = ", ".join((matches or list(stems))[:MANY]) + (", …" if len(matches or stems) > MANY else "")
    told = f"{len(matches)} cells have that in their name" if matches else "no cell has that in its name"
    raise UserError(f"--card {wanted}: {told}; write more of one of {shown}.")


def card(record: Record) -> str:
    """What a reader needs to trust a cell's numbers, ending in its command line."""
    cell, facts, source, cost = (record[part] for part in ("cell", "provenance", "source", "cost"))
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    rows = {
        "cell": listed({name: value for name, value in cell.items() if value != ""} | {"key": record["key"]}),
        "failed": record["error"],
        **{f"{n['metric']} at {n['tap']}": figure(n) for n in record["metrics"]},
        "measured": f"{facts.get('created')}, commit {facts.get('commit')}"
        + (", with changes that were not committed" if facts.get("dirty") else ""),
        "with": versions,
        "on": listed({name: facts.get(name) for name in ("device", "system", "precision")}),
        "data": listed({name: record["identity"].get(name) for name in ("dataset", "pretrain_dataset")}),
        "weights": listed(source | {"content": record["identity"].get("weights")}),
        "cost": listed({name: f"{value:,.{0 if value == int(value) else 1}f}" for name, value in cost.items()}),
        "protocol card": listed(record["card"]),
        "settings": listed(record["settings"].get("method", {})),
        "recipe": listed(record["settings"].get("recipe", {})),
        "not the paper's": listed(record["deviations"]),
    }
    grid = tabulate([(name, told) for name, told in rows.items() if told], tablefmt="plain", disable_numparse=True)
    return f"{grid}\n\n{command(record)}\n"


def command(record: Record) -> str:
    """The command line that measures a record's cell again, in a folder of its own so that it is not found measured.

    Settings that this version would choose by itself are left out. Where pictures and files of one's own lie is not
    recorded: what to fill in stands in capitals.
    """
    cell, recipe, token = record["cell"], record["settings"].get("recipe", {}), record["source"].get("token")
    words = ["--methods", token or cell["method"], "--protocol", cell["protocol"], *data_words(record)]
    if not token or token.startswith("file/"):  # others bring their encoder
        words += ["--encoder", cell["encoder"]]
    words += ["--preset", cell["preset"], "--seeds", str(cell["seed"])]
    if cell["variant"]:
        words += ["--variant", cell["variant"]]
    if recipe.get("precision", "auto") != "auto":
        words += ["--precision", recipe["precision"]]
    if cell["checkpoint"] and not token:
        words += ["--checkpoint", f"{cell['method']}={cell['checkpoint']}"]
    for kind in ("method", "protocol"):
        if cell[kind] not in known(kind) and not (token and kind == "method"):
            words += ["--plugin", f"PATH_OF_{cell[kind]}.py"]
    for assignment in assignments(record):
        words += ["--set", assignment]
    return f"{program_name()} {shlex.join([*words, '--results', 'results/local/again'])}"


@cache  # a page asks for each of its cells
def known(kind: str) -> Mapping[str, discovery.Plugin]:
    """The plugins of a kind."""
    return discovery.find_plugins(kind)


def data_words(record: Record) -> Iterator[str]:
    """The options that name the data of a record."""
    for flag, part in (("--", "dataset"), ("--pretrain-", "pretrain_dataset")):
        name = source_of(record, part)
        if part == "dataset" or record["identity"].get(part) != record["identity"].get("dataset"):
            yield from (f"{flag}dataset", name)
            if not found_alone(name):
                yield from (f"{flag}data-dir", f"PATH_OF_{record['cell'][part]}")


def source_of(record: Record, part: str) -> str:
    """The plugin that read a record's data; those of a folder are called by the folder's name in the cell."""
    name = record["cell"][part]
    return record["settings"].get(part, {}).get("source") or (name if name in known("dataset") else "folder")


def found_alone(name: str) -> bool:
    """Whether a data set is there, or can be fetched, without being told where."""
    try:
        known("dataset")[name].load()().check()
    except (KeyError, UserError):
        return False
    return True


def assignments(record: Record) -> Iterator[str]:
    """``plugin.key=value`` for each recorded setting that this version would not choose by itself."""
    cell, settings = record["cell"], record["settings"]
    encoder, _, network = cell["encoder"].partition("/")
    method, protocol = known("method").get(cell["method"]), known("protocol").get(cell["protocol"])
    short = (method.constants.get("short_run_settings") or {}) if method and cell["preset"] != "paper" else {}
    presets = (protocol.constants.get("presets") or {}) if protocol else {}
    owners = {
        "protocol": ("protocol", cell["protocol"], presets.get(cell["preset"], {})),
        "dataset": ("dataset", source_of(record, "dataset"), {"source": source_of(record, "dataset")}),
    }
    if not record["source"].get("token"):
        owners["method"] = ("method", cell["method"], short)
        owners["encoder"] = ("encoder", encoder, {"name": network})
        # What a variant changes of the recipe is its own affair; the others' is what was asked for.
        recipe = settings.get("recipe", {}) | settings.get("common", {})
        named = {name: recipe.get(name) for name in ("preset", "seed", "precision")}
        changes = {key.removeprefix("recipe."): value for key, value in short.items() if key.startswith("recipe.")}
        usual = asdict(Recipe()) | PRESETS.get(cell["preset"], {}) | changes | named
        yield from (f"recipe.{text}" for text in unusual(recipe, usual))
    for part, (kind, owner, changes) in owners.items():
        plugin = known(kind).get(owner)
        usual = (plugin.defaults if plugin else {}) | changes
        yield from (f"{owner}.{text}" for text in unusual(settings.get(part, {}), usual))


def unusual(recorded: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[str]:
    """``key=value`` for each recorded setting that is not the usual one; JSON knows no tuples."""
    for key, value in recorded.items():
        if key not in usual or json.loads(json.dumps(usual[key])) != value:
            yield f"{key}={format_value(value)}"


def figure(number: Mapping[str, Any]) -> str:
    """A metric's value with its interval, and what was chosen on the way."""
    values = [number["value"], number.get("low"), number.get("high")]
    told = ["-" if value is None else f"{value:.6g}" for value in values]
    interval = f" [{told[1]}, {told[2]}]" if values[1] is not None else ""
    chosen_on_the_way = listed(number.get("details") or {})
    return told[0] + interval + (f" ({chosen_on_the_way})" if chosen_on_the_way else "")


def listed(values: Mapping[str, Any]) -> str:
    """Names and values in one line; what is not known is left out."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items() if value is not None)
