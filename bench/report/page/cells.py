"""The data of each measured cell for the page: its numbers, origin, confusions and mistakes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from ...errors import UserError
from ...records.comparable import CEILING, FLOOR
from ...records.measurement import Measurement, format_number
from ...records.predictions import read_predictions
from ...records.record import Record
from ..card import rerun_command
from ..learning import learned_from
from ..tables import Table
from .figures import webp_uri
from .leaderboard import kind_and_year

MAX_MATRIX_CLASSES = 20  # with more classes the most confused pairs are listed instead of a confusion matrix
MAX_PAIRS = 20
MAX_PICTURE_BYTES = 1_500_000  # of all pictures of mistakes together


def collect_cells(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """The data of each record once, in the order of the tables; pictures are left out once they exceed their budget."""
    cells: dict[str, dict[str, Any]] = {}
    bytes_left = MAX_PICTURE_BYTES
    for table in tables:
        for record in table.records:
            if record.key in cells:
                continue
            cells[record.key] = cell = cell_data(record, table)
            if cell["pictures"] and (bytes_left := bytes_left - len(cell["pictures"])) < 0:
                cell |= {
                    "pictures": None,
                    "pictures_note": f"Pictures left out for size; see {record.pictures}.",
                }
            if cell["examples"] and (bytes_left := bytes_left - len(cell["examples"]["source"])) < 0:
                cell["examples"] = None
    return list(cells.values())


def cell_data(record: Record, table: Table) -> dict[str, Any]:
    """One record for the page: its numbers, its provenance, its confusions and its most confident mistakes."""
    cell = record.cell
    kind, year = kind_and_year(cell.method)
    headline = [number_data(found) for found in record.measurements if found.metric == table.metric]
    missing = {"tap": None, "metric": table.metric, "value": None, "text": "failed" if record.failed else "-"}
    return {
        "key": record.key,
        "columns": {
            "method": ", ".join(part for part in (cell.method, cell.checkpoint, cell.variant) if part),
            "protocol": cell.protocol,
            "dataset": cell.dataset,
            "encoder": cell.encoder,
            "preset": cell.preset,
            "seed": cell.seed,
            "weights": record.source.kind,
            "learns_from": learned_from(record),
            "kind": kind,
            "year": year,
            "status": record.status,
            "role": {CEILING: "ceiling", FLOOR: "floor"}.get(cell.method, ""),
            "group": table.name,
        },
        "headline": headline or [missing],
        "metrics": [format_metric(found) for found in record.measurements],
        "provenance": provenance_of(record),
        "command": rerun_command(record),
        "error": record.error,
        "classes": record.classes,
        "mistakes": {tap: [asdict(mistake) for mistake in of_tap] for tap, of_tap in (record.mistakes or {}).items()},
        "pictures": picture_of(record, record.pictures),
        "examples": examples_of(record),
        **count_confusions(record),
    }


def provenance_of(record: Record) -> dict[str, Any]:
    """Everything that is needed to judge a record's numbers, by the names that the page prints."""
    checkpoint = record.source.checkpoint
    return {
        **{name: value for name, value in asdict(record.cell).items() if value not in ("", None)},
        "method_settings": record.settings.method,
        "deviations_from_the_paper": record.deviations,
        "recipe": record.settings.recipe,
        "encoder_settings": record.settings.encoder,
        "data_settings": record.settings.dataset,
        "protocol_card": record.card,
        "weights": {name: value for name, value in asdict(record.source).items() if name != "checkpoint"},
        "checkpoint": asdict(checkpoint) if checkpoint else None,
        "identity": asdict(record.identity),
        "cost": {name: f"{value:,.4g}" for name, value in asdict(record.cost).items() if value},
        "pretext": {name: f"{value:.4g}" for name, value in record.pretext.items() if value is not None},
        **asdict(record.provenance),
        "key": record.key,
    }


def number_data(measurement: Measurement) -> dict[str, Any]:
    """A measurement: its raw values, which sort, and the texts that are shown."""
    half = ci_half_width(measurement)
    return {
        "tap": measurement.tap,
        "metric": measurement.metric,
        "value": None if math.isnan(measurement.value) else measurement.value,
        "text": format_number(measurement.value, measurement.unit),
        "interval": half,
        "interval_text": format_number(half, measurement.unit),
    }


def ci_half_width(measurement: Measurement) -> float | None:
    """Half the width of a measurement's 95 % interval, None where it has no interval."""
    low, high = measurement.ci_low, measurement.ci_high
    return None if low is None or high is None else (high - low) / 2


def format_metric(measurement: Measurement) -> list[str]:
    """A measurement as a row of text: tap, metric, value, 95 % interval and details, accuracies in percent."""
    value, low, high = (
        format_number(number, measurement.unit)
        for number in (measurement.value, measurement.ci_low, measurement.ci_high)
    )
    details = "; ".join(f"{name} = {value}" for name, value in (measurement.details or {}).items())
    return [measurement.tap, measurement.metric, value, f"{low} to {high}" if low != "-" else "-", details]


def count_confusions(record: Record) -> dict[str, Any]:
    """For each tap the counts of test images by true and predicted class, or why the predictions cannot be read.

    With many classes only the most confused pairs are counted.
    """
    try:
        predictions = read_predictions(record)
    except UserError as error:
        return {"predictions_error": str(error)}
    if predictions is None:
        return {"confusion": {}}
    taps = {found.tap for found in record.measurements}
    return {
        "confusion": {
            tap: confusion(predictions.labels, predicted)
            for tap, predicted in predictions.by_name.items()
            if tap in taps
        }
    }


def confusion(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Labels and predicted classes (N,) -> ``{"matrix": [[count]]}``, or ``{"pairs": [[label, predicted, count]]}``."""
    classes = int(max(labels.max(), predicted.max())) + 1
    if classes <= MAX_MATRIX_CLASSES:
        counts = np.bincount(labels * classes + predicted, minlength=classes**2)
        return {"matrix": counts.reshape(classes, classes).tolist()}
    wrong = predicted != labels
    pairs = Counter(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True)).most_common(MAX_PAIRS)
    return {"pairs": [[*pair, count] for pair, count in pairs]}


def examples_of(record: Record) -> dict[str, Any] | None:
    """The pictures of what the protocol asked and what was answered, with the titles of their columns."""
    source = record.examples and picture_of(record, record.examples.file)
    return {"source": source, "titles": record.examples.titles} if record.examples and source else None


def picture_of(record: Record, name: str | None) -> str | None:
    """A WebP file next to a record as a data URI, None where the record has none of its own."""
    try:
        path = record.path_of(name)
    except UserError:
        return None
    return webp_uri(path.read_bytes()) if path and path.is_file() else None
