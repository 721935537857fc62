"""The report as one web page that needs no network: every cell with its provenance, the tables, the figures.

``page.html`` is filled with ``page.css``, ``page.js`` and the data as JSON; what a reader sees of a
cell is made from its record and what lies beside it.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Iterable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...records.mistakes import KEPT
from ...records.record import Record, read_predictions
from ..card import command
from ..overview import Overview
from ..render import Report, hypertext
from ..tables import CEILING, FLOOR, Table

HERE = Path(__file__).resolve().parent
CLASSES = 20  # up to so many a confusion matrix is shown whole
PAIRS = 20  # of classes most confused, where there are more
PICTURES = 1_500_000  # bytes that the pictures of mistakes may take
FIGURES = 1_500_000  # bytes that the figures may take


def page(report: Report) -> str:
    """The whole page of a report."""
    known = cells(report.tables)
    data = {"cells": known, "across": KEPT}
    shown: list[Table | Overview] = [*report.overviews, *report.tables]
    made = max((str(cell["facts"].get("created") or "") for cell in known), default="")
    failed = sum(cell["of"]["status"] == "failed" for cell in known)
    summary = f"{len(known)} cells, {len(report.tables)} tables" + (f", {failed} failed" if failed else "")
    summary += f"; the newest measured {made[:10]}" if made else ""
    parts = {
        "title": "Self-supervised methods, compared",
        "summary": escape(summary),
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
        "tables": "\n".join(f"<article>\n{hypertext(table)}</article>" for table in shown),
        "figures": "\n".join(figures(report.files)),
        # A text that ends a script element must not end this one.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    text = (HERE / "page.html").read_text(encoding="utf-8")
    pieces = text.split("@")
    return "".join(parts.get(piece, piece) if place % 2 else piece for place, piece in enumerate(pieces))


def cells(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """What the page knows of each record, in the order of the tables; each record once."""
    found: dict[str, dict[str, Any]] = {}
    room = PICTURES
    for table in tables:
        for record in table.group:
            if record["key"] in found:
                continue
            found[record["key"]] = cell = described(record, table)
            if cell["pictures"] and (room := room - len(cell["pictures"])) < 0:
                cell |= {
                    "pictures": None,
                    "without": f"Pictures left out for size; see {Path(record['pictures']).name}.",
                }
    return list(found.values())


def described(record: Record, table: Table) -> dict[str, Any]:
    """One record: its numbers, all that is needed to judge them, and what was confused with what."""
    cell, source = record["cell"], record["source"]
    headline = [number for number in record["metrics"] if number["metric"] == table.metric]
    rows = [
        {"tap": number["tap"], "metric": number["metric"], "value": number["value"], "half": half(number)}
        | {"percent": "accuracy" in number["metric"]}
        for number in headline
    ]
    facts: dict[str, Any] = {
        **{name: value for name, value in cell.items() if value not in ("", None)},
        "method_settings": record["settings"].get("method"),
        "not_the_paper's": record["deviations"],
        "recipe": record["settings"].get("recipe"),
        "encoder_settings": record["settings"].get("encoder"),
        "data_settings": record["settings"].get("dataset"),
        "protocol_card": record["card"],
        "weights": source,
        "identity": record["identity"],
        "cost": {name: f"{value:,.4g}" for name, value in record["cost"].items() if value},
        "pretext": {name: f"{value:.4g}" for name, value in record["pretext"].items() if value is not None},
        **record["provenance"],
    }
    return {
        "key": record["key"],
        "of": {
            "method": ", ".join(str(cell[part]) for part in ("method", "checkpoint", "variant") if cell[part]),
            **{name: cell[name] for name in ("protocol", "dataset", "encoder", "preset", "seed")},
            "weights": source.get("kind"),
            "status": record["status"],
            "role": {CEILING: "ceiling", FLOOR: "floor"}.get(cell["method"], ""),
            "group": table.name,
        },
        "rows": rows or [{"tap": None, "metric": table.metric, "value": None, "half": None, "percent": True}],
        "numbers": [written(number) for number in record["metrics"]],
        "facts": facts | {"key": record["key"]},
        "command": command(record),
        "error": record["error"],
        "classes": record.get("classes"),
        "mistakes": record.get("mistakes"),
        "pictures": picture(record),
        **confusions(record),
    }


def half(number: dict[str, Any]) -> float | None:
    """Half the interval of a number."""
    low, high = number.get("low"), number.get("high")
    return None if low is None or high is None else (high - low) / 2


def written(number: dict[str, Any]) -> list[str]:
    """A number as the page prints it: tap, metric, value, interval, and what was chosen on the way."""
    scale, digits = (100, 2) if "accuracy" in number["metric"] else (1, 4)
    value, low, high = (
        "–" if number.get(name) is None else f"{scale * number[name]:.{digits}f}" for name in ("value", "low", "high")
    )
    details = "; ".join(f"{name} = {value}" for name, value in (number.get("details") or {}).items())
    return [number["tap"], number["metric"], value, f"{low} to {high}" if low != "–" else "–", details]


def confusions(record: Record) -> dict[str, Any]:
    """For each tap how many test images of each class were taken for each; of many classes the most confused pairs."""
    try:
        predictions = read_predictions(Path(), record)
    except UserError as error:
        return {"unread": str(error)}
    truth = predictions.pop("labels", np.empty(0, int))
    found: dict[str, Any] = {}
    taps = {number["tap"] for number in record["metrics"]}
    for tap, own in predictions.items():
        if tap not in taps or len(own) != len(truth) or not len(truth):
            continue
        classes = int(max(truth.max(), own.max())) + 1
        if classes <= CLASSES:
            matrix = np.bincount(truth * classes + own, minlength=classes**2).reshape(classes, classes)
            found[tap] = {"matrix": matrix.tolist()}
        else:
            wrong = own != truth
            pairs = Counter(zip(truth[wrong].tolist(), own[wrong].tolist(), strict=True)).most_common(PAIRS)
            found[tap] = {"pairs": [[label, predicted, count] for (label, predicted), count in pairs]}
    return {"confusion": found}


def picture(record: Record) -> str | None:
    """The record's pictures of mistakes as a data address."""
    if not (name := record.get("pictures")) or not (path := Path(name)).is_file():
        return None
    return address(path.read_bytes(), "webp")


def figures(files: Iterable[Path]) -> list[str]:
    """The report's figures as elements, as small as they get without loss."""
    from PIL import Image

    found, room = [], FIGURES
    for path in (path for path in files if path.suffix == ".png"):
        content = BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").save(content, "webp", lossless=True, method=4)
        name = escape(path.stem)
        if (room := room - math.ceil(content.tell() * 4 / 3)) < 0:
            found.append(f"<p>Left out for size: {name}</p>")
            continue
        image_of = f'<img alt="{name}" loading="lazy" src="{address(content.getvalue(), "webp")}">'
        found.append(f"<figure>{image_of}<figcaption>{name}</figcaption></figure>")
    return found


def address(content: bytes, kind: str) -> str:
    """An image as a data address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
