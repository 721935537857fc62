"""Everything that is known about one measured cell, and the command line that measures it again."""

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
from ..records.measurement import FRACTION, Measurement, format_number
from ..records.record import Record, Values
from ..records.store import file_stem
from ..training.recipe import PRESETS, Recipe

MANY = 8  # cells that an error still lists
USUAL_PRESET = "small"  # of a command line that names none


def find_record(records: list[Record], wanted: str) -> Record:
    """The one record whose key or file name contains the text. Raises UserError for none and for more than one."""
    by_stem = {file_stem(record): record for record in records}
    wanted = Path(wanted).name.removesuffix(".json")
    matches = [wanted] if wanted in by_stem else [stem for stem in by_stem if wanted in stem]
    if len(matches) == 1:
        return by_stem[matches[0]]
    candidates = matches or list(by_stem)
    names = ", ".join(candidates[:MANY]) + (", …" if len(candidates) > MANY else "")
    problem = f"{len(matches)} cells have that in their name" if matches else "no cell has that in its name"
    raise UserError(f"--card {wanted}: {problem}; write more of one of {names}.")


def cell_card(record: Record) -> str:
    """What a reader needs to judge a cell's results, with the command that measures it again as its last line."""
    made, source = record.provenance, record.source
    weights = {name: value for name, value in asdict(source).items() if name != "checkpoint"}
    checkpoint = asdict(source.checkpoint) if source.checkpoint else {}
    weights |= {name: value for name, value in checkpoint.items() if value}
    cost = {name: value for name, value in asdict(record.cost).items() if value is not None}
    rows = {
        "cell": values_line({name: value for name, value in asdict(record.cell).items() if value != ""})
        + f", key {record.key}",
        "failed": record.error,
        **{f"{found.metric} at {found.tap}": measurement_line(found) for found in record.measurements},
        "measured": f"{made.created or None}, commit {made.commit}"
        + (", with changes that were not committed" if made.dirty else ""),
        "with": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
        "on": values_line(
            {"device": made.device, "system": made.system, "precision": made.precision, "threads": made.threads}
        ),
        "data": values_line({"dataset": record.identity.dataset, "pretrain_dataset": record.identity.pretrain_dataset}),
        "weights": values_line(weights | {"content": record.identity.weights}),
        "cost": values_line({name: f"{value:,.{0 if value == int(value) else 1}f}" for name, value in cost.items()}),
        "protocol card": values_line(record.card),
        "settings": values_line(record.settings.method),
        "recipe": values_line(record.settings.recipe),
        "differs from the paper": values_line(record.deviations),
    }
    grid = tabulate([(name, line) for name, line in rows.items() if line], tablefmt="plain", disable_numparse=True)
    return f"{grid}\n\n{rerun_command(record)}\n"


def rerun_command(record: Record) -> str:
    """The command line that measures a record's cell again, into another folder so that it is not found as measured.

    Settings that this version would choose by itself are left out. The paths of a user's own data and files are not
    recorded: the command has words in capitals in their place.
    """
    cell, recipe, checkpoint = record.cell, record.settings.recipe, record.source.checkpoint
    token = checkpoint.token if checkpoint else ""
    words = ["--methods", token or cell.method, "--protocol", cell.protocol, *data_options(record)]
    if not token or token.startswith("file/"):  # other checkpoints come with their encoder
        words += ["--encoder", cell.encoder]
    words += [*(["--preset", cell.preset] if cell.preset else []), "--seeds", str(cell.seed)]
    if cell.variant:
        words += ["--variant", cell.variant]
    if recipe.get("precision", "auto") != "auto":
        words += ["--precision", str(recipe["precision"])]
    if cell.checkpoint and not token:
        words += ["--checkpoint", f"{cell.method}={cell.checkpoint}"]
    for kind, name in (("method", cell.method), ("protocol", cell.protocol)):
        if name not in plugins_of(kind) and not (token and kind == "method"):
            words += ["--plugin", f"PATH_OF_{name}.py"]
    for assignment in changed_settings(record):
        words += ["--set", assignment]
    return f"{program_name()} {shlex.join([*words, '--no-references', '--results', 'results/local/again'])}"


@cache  # a page asks for each of its cells
def plugins_of(kind: str) -> Mapping[str, discovery.Plugin]:
    """The plugins of a kind."""
    return discovery.find_plugins(kind)


def data_options(record: Record) -> Iterator[str]:
    """The options that name the data of a record."""
    yield from dataset_options("--", record.cell.dataset, record.settings.dataset)
    if limit := record.settings.dataset.get("limit"):
        yield from ("--limit", str(limit))
    if record.identity.pretrain_dataset not in (None, record.identity.dataset):
        yield from dataset_options("--pretrain-", record.cell.pretrain_dataset or "", record.settings.pretrain_dataset)


def dataset_options(flag: str, name: str, settings: Values) -> Iterator[str]:
    """The options that name one data set, and its folder unless it is found without."""
    plugin = dataset_plugin(name, settings)
    yield from (f"{flag}dataset", plugin)
    if not settings.get("path") and not is_found_alone(plugin):
        yield from (f"{flag}data-dir", f"PATH_OF_{name}")


def dataset_plugin(name: str, settings: Values) -> str:
    """The plugin that read a data set; the name of data from a folder is that of the folder."""
    return str(settings.get("source") or (name if name in plugins_of("dataset") else "folder"))


def is_found_alone(plugin: str) -> bool:
    """Whether a data set is here or can be downloaded without ``--data-dir``."""
    try:
        plugins_of("dataset")[plugin].load()().check()
    except (KeyError, UserError):
        return False
    return True


def changed_settings(record: Record) -> Iterator[str]:
    """``plugin.key=value`` for each recorded setting that this version would not choose by itself."""
    cell, settings = record.cell, record.settings
    dataset, protocol = dataset_plugin(cell.dataset, settings.dataset), plugins_of("protocol").get(cell.protocol)
    presets = (protocol.constants.get("presets") or {}) if protocol else {}
    if not record.is_external:
        short = short_run_settings(record)
        encoder, _, network = cell.encoder.partition("/")
        # What a variant changes in the recipe follows from the variant.
        recipe = {**settings.recipe, **settings.unvaried_recipe}
        yield from unusual_settings("recipe", recipe, usual_recipe(recipe, cell.preset or USUAL_PRESET, short))
        yield from unusual_settings(cell.method, settings.method, plugin_defaults("method", cell.method) | short)
        encoder_defaults = plugin_defaults("encoder", encoder) | {"name": network}
        yield from unusual_settings(encoder, settings.encoder, encoder_defaults)
    protocol_defaults = plugin_defaults("protocol", cell.protocol) | presets.get(cell.preset or USUAL_PRESET, {})
    yield from unusual_settings(cell.protocol, settings.protocol, protocol_defaults)
    own = {key: value for key, value in settings.dataset.items() if key not in ("source", "limit", "targets")}
    yield from unusual_settings(dataset, own, plugin_defaults("dataset", dataset))


def short_run_settings(record: Record) -> dict[str, Any]:
    """The settings that the record's method changes in presets shorter than the paper's."""
    method = plugins_of("method").get(record.cell.method)
    if method is None or record.cell.preset == "paper":
        return {}
    return dict(method.constants.get("short_run_settings") or {})


def usual_recipe(recipe: Values, preset: str, short: Values) -> dict[str, Any]:
    """The recipe that this version would choose; preset, seed and precision have options of their own."""
    named = {name: recipe.get(name) for name in ("preset", "seed", "precision")}
    changes = {name.removeprefix("recipe."): value for name, value in short.items() if name.startswith("recipe.")}
    return asdict(Recipe()) | PRESETS.get(preset, {}) | changes | named


def plugin_defaults(kind: str, name: str) -> dict[str, Any]:
    """The default settings of a plugin; none for one that is not here."""
    plugin = plugins_of(kind).get(name)
    return dict(plugin.defaults) if plugin else {}


def unusual_settings(owner: str, recorded: Values, usual: Values) -> Iterator[str]:
    """``owner.key=value`` for each recorded setting that is not the usual one; JSON has no tuples."""
    for key, value in recorded.items():
        if key not in usual or json.loads(json.dumps(usual[key])) != value:
            yield f"{owner}.{key}={format_value(value)}"


def measurement_line(measurement: Measurement) -> str:
    """A measured value with its interval, and what was chosen on the way."""
    value, low, high = (
        format_number(number, measurement.unit)
        for number in (measurement.value, measurement.ci_low, measurement.ci_high)
    )
    interval = f" [{low}, {high}]" if measurement.ci_low is not None else ""
    interval += f" {'%' if measurement.unit == FRACTION else measurement.unit}".rstrip()
    details = values_line(measurement.details or {})
    return value + interval + (f" ({details})" if details else "")


def values_line(values: Values) -> str:
    """Names and values in one line; values that are not known are left out."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items() if value is not None)
