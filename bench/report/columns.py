"""Columns that describe the rows of a table: what they learn from, their encoders, and the cost of pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..records.measurement import short_number
from .learning import IMAGES
from .tables import Table


@dataclass(frozen=True)
class Column:
    """A column of words or counts."""

    name: str
    texts: dict[str, str]  # label -> its cell
    is_text: bool = False


def describing_columns(table: Table) -> tuple[list[Column], list[Column]]:
    """The columns before the measured numbers, and those after them. One that would not differ is left out."""
    heads = {label: cells[0] for label, cells in table.rows_by_label}
    external = external_rows(table)
    encoder = table.records[0].cell.encoder
    names = {label: external[label].encoder if label in external else encoder for label in heads}
    own_side = next((r.settings.dataset.get("image_size") for r in table.records if not r.is_external), None)
    sides = {label: external[label].input.get("size") if label in external else own_side for label in heads}
    before = [
        Column("learns from", {label: learns_from(head) for label, head in heads.items()}, is_text=True),
        Column("encoder", names if external else {}, is_text=True),
        Column("input (px)", {label: str(side or "-") for label, side in sides.items()}),
    ]
    after = [
        Column("parameters", {label: short_number(head.parameters) for label, head in heads.items()}),
        Column("pretraining FLOPs", {label: short_number(head.flops) for label, head in heads.items()}),
    ]
    unranked = {label for label, head in heads.items() if head.role}
    return [column for column in before if differs(column, unranked)], [c for c in after if differs(c, unranked)]


def differs(column: Column, unranked: set[str]) -> bool:
    """Whether a column says something different about different methods; "-" says nothing."""
    return len({text for label, text in column.texts.items() if label not in unranked}) > 1


def external_rows(table: Table) -> dict[str, Any]:
    """Label -> checkpoint of each row of an external checkpoint."""
    by_method = {record.cell.method: record.source.checkpoint for record in table.records if record.is_external}
    labels = ((label, cells[0].method) for label, cells in table.rows_by_label)
    return {label: by_method[method] for label, method in labels if method in by_method}


def learns_from(row: Any) -> str:
    """What a row's weights learned from, in a few words; a dash for the untrained encoder."""
    if row.role == "floor":
        return "-"
    kind = str(row.learns_from)
    return kind.replace(" and ", ", ") if kind.startswith(IMAGES) else kind
