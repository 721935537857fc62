"""The report as one web page that needs no network: all cells with their provenance, the tables and the figures.

``page.html`` is a Jinja template. It is filled with ``page.css``, ``page.js`` and the data of the cells as JSON, so the
page is a single file that a browser opens from disk.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...errors import UserError
from ...records.measurement import Measurement, is_shown_in_percent
from ...records.mistakes import PER_TAP
from ...records.predictions import read_predictions
from ...records.record import Record
from ..card import rerun_command
from ..overview import Overview
from ..render import Report
from ..table_formats import as_html
from ..tables import CEILING, FLOOR, Table

FOLDER = Path(__file__).resolve().parent
MAX_MATRIX_CLASSES = 20  # with more classes the most confused pairs are listed instead of a confusion matrix
MAX_PAIRS = 20
MAX_PICTURE_BYTES = 1_500_000  # of all pictures of mistakes together
MAX_FIGURE_BYTES = 1_500_000  # of all figures together


def render_page(report: Report) -> str:
    """The HTML of a report's page."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    cells = collect_cells(report.tables)
    tables: list[Table | Overview] = [*report.overviews, *report.tables]
    return environment.get_template("page.html").render(
        title="Comparison of self-supervised methods",
        summary=summarise(cells, len(report.tables)),
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(FOLDER / "page.js").read_text(encoding="utf-8"),
        tables=[as_html(table) for table in tables],
        figures=embed_figures(report.files),
        data={"cells": cells, "pictures_per_tap": PER_TAP},
    )


def summarise(cells: list[dict[str, Any]], tables: int) -> str:
    """How many cells and tables the page holds, how many cells failed, and the date of the newest."""
    newest = max((str(cell["provenance"].get("created") or "") for cell in cells), default="")
    failed = sum(cell["columns"]["status"] == "failed" for cell in cells)
    summary = f"{len(cells)} cells, {tables} tables" + (f", {failed} failed" if failed else "")
    return summary + (f"; newest measurement {newest[:10]}" if newest else "")


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
    return list(cells.values())


def cell_data(record: Record, table: Table) -> dict[str, Any]:
    """One record for the page: its numbers, its provenance, its confusions and its most confident mistakes."""
    cell = record.cell
    headline = [
        {
            "tap": found.tap,
            "metric": found.metric,
            "value": None if math.isnan(found.value) else found.value,
            "ci_half_width": ci_half_width(found),
            "percent": is_shown_in_percent(found.metric),
        }
        for found in record.measurements
        if found.metric == table.metric
    ]
    missing = {"tap": None, "metric": table.metric, "value": None, "ci_half_width": None, "percent": True}
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
        "pictures": mistakes_picture(record),
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


def ci_half_width(measurement: Measurement) -> float | None:
    """Half the width of a measurement's 95 % interval, None where it has no interval."""
    low, high = measurement.ci_low, measurement.ci_high
    return None if low is None or high is None else (high - low) / 2


def format_metric(measurement: Measurement) -> list[str]:
    """A measurement as a row of text: tap, metric, value, 95 % interval and details, accuracies in percent."""
    scale, digits = (100, 2) if is_shown_in_percent(measurement.metric) else (1, 4)
    value, low, high = (
        "–" if number is None or math.isnan(number) else f"{scale * number:.{digits}f}"
        for number in (measurement.value, measurement.ci_low, measurement.ci_high)
    )
    details = "; ".join(f"{name} = {value}" for name, value in (measurement.details or {}).items())
    return [measurement.tap, measurement.metric, value, f"{low} to {high}" if low != "–" else "–", details]


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


def mistakes_picture(record: Record) -> str | None:
    """The record's picture of its most confident mistakes as a data URI, None where it has none of its own."""
    try:
        path = record.path_of(record.pictures)
    except UserError:
        return None
    return webp_uri(path.read_bytes()) if path and path.is_file() else None


def embed_figures(files: Iterable[Path]) -> list[tuple[str, str | None]]:
    """Name and data URI of each PNG file; the URI is None where it would exceed the page's budget."""
    from PIL import Image

    figures: list[tuple[str, str | None]] = []
    bytes_left = MAX_FIGURE_BYTES
    for path in (path for path in files if path.suffix == ".png"):
        content = BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").save(content, "webp", lossless=True, method=4)
        bytes_left -= math.ceil(content.tell() * 4 / 3)  # base64 writes three bytes as four
        figures.append((path.stem, webp_uri(content.getvalue()) if bytes_left >= 0 else None))
    return figures


def webp_uri(content: bytes) -> str:
    """A WebP image as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
