"""The tabs of a page, one per protocol: its tables, its figures, and the numbers that papers published about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import program_name
from ...plugins.discovery import find_plugins
from ...records.measurement import format_number
from ..published import published_frame, setting_of
from ..table_formats import as_html
from ..tables import Table
from .figures import Figure, figures_of


@dataclass(frozen=True)
class PublishedTable:
    """Published numbers of one data set, encoder and way of probing."""

    setting: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]  # label in the paper, a number per column
    sources: list[tuple[str, str]]  # what the source is, and where to read it


@dataclass(frozen=True)
class Tab:
    """Everything that the page shows about one protocol."""

    protocol: str
    summary: str
    tables: list[str]  # HTML
    figures: list[Figure]
    published: list[PublishedTable]
    command: str  # measures it


def build_tabs(tables: Sequence[Table], figures: Sequence[Figure]) -> list[Tab]:
    """A tab for each protocol that was measured or that papers published numbers about.

    Those with the most published numbers come first, and protocols without a measurement last.
    """
    plugins = find_plugins("protocol")
    tabs = []
    for name in sorted({*plugins, *(table.protocol for table in tables)}):
        published: list[dict[str, Any]] = published_frame(name).to_dict("records")  # type: ignore[assignment]
        own = [table for table in tables if table.protocol == name]
        if not own and not published:
            continue
        summary = plugins[name].summary if name in plugins else ""
        methods = [*(plugins[name].constants.get("variants") or {})] if name in plugins else []
        command = f"{program_name()} --methods {','.join(methods or ['rotnet', 'random'])} --protocol {name}"
        tab = Tab(
            name, summary, [as_html(table) for table in own], figures_of(figures, name), by_setting(published), command
        )
        tabs.append((not own, -len(published), tab))
    return [tab for *_, tab in sorted(tabs, key=lambda one: one[:2])]


def by_setting(rows: Sequence[Mapping[str, Any]]) -> list[PublishedTable]:
    """Published numbers, a table per data set, encoder and way of probing."""
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        settings.setdefault(setting_of(dict(row)), []).append(row)
    return [published_table(setting, of) for setting, of in settings.items()]


def published_table(setting: str, rows: Sequence[Mapping[str, Any]]) -> PublishedTable:
    """Labels by taps; by what was varied too, where a label has several numbers for one tap."""
    places = {(row["label"], row["tap"]) for row in rows}
    varied = len(places) < len(rows)
    taps = {row["tap"] for row in rows} - {""}
    one_tap = next(iter(taps)) if varied and len(taps) == 1 else ""
    numbers: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in rows:
        tap = "" if one_tap else row["tap"]
        value = row["setting"].replace("_", " ").replace("=", " = ") if varied else ""
        column = ", ".join(filter(None, (tap, value))) or row["metric"]
        columns[column] = None
        numbers.setdefault(row["label"], {})[column] = format_number(row["value"])
    sources = dict.fromkeys(
        (row["source"] + (f", second-hand ({row['second_hand']})" if row["second_hand"] else ""), row["reference"])
        for row in rows
    )
    lines = [(label, [found.get(column, "-") for column in columns]) for label, found in numbers.items()]
    return PublishedTable(setting + (f" at {one_tap}" if one_tap else ""), list(columns), lines, list(sources))
