"""Tables and figures, made from records alone.

Only like is ranked with like: records that differ in protocol card, data, encoder,
preset or budget get a table each. What a reader must know to judge a row stands
below the table. Accuracies become percentages here and nowhere else.
"""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench import plots
from bench.published import Beside, beside
from bench.recipe import fingerprint
from bench.records import Record, frame, joined, write_whole

CEILING, FLOOR = "supervised", "random"
"""The rows that methods are measured against: they head every table and are never ranked."""

FORMATS = ("md", "csv", "tex", "png", "svg")
WIDTH = 100  # columns of a terminal

# Two-sided 95 % points of Student's t for 1, 2, ... degrees of freedom; the last one serves for all above it.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

SOURCES = {"pretrained": "pretrained now", "file": "from a file"}

# Private characters stand for LaTeX commands until tabulate has escaped everything else.
LATEX: dict[str, str | int | None] = {
    "\ue000": r"\textbf{",
    "\ue001": r"\underline{",
    "\ue002": "}",
    "±": r"$\pm$",
    MISSING: "--",
}
ESCAPES = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\^{}",
    "\\": r"\textbackslash{}",
}


@dataclass(frozen=True)
class Style:
    """How a kind of file shows a table."""

    tablefmt: str
    best: str
    second: str
    legend: str
    joint: str  # between a tap and what stands beside it


PLAIN = Style("simple", "*{}", "{}", "* best", "\n")
MARKDOWN = Style("pipe", "**{}**", "*{}*", "bold: best, italic: second best", " ")
TEX = Style("latex_booktabs", "\ue000{}\ue002", "\ue001{}\ue002", "bold: best, underlined: second best", " ")


@dataclass
class Report:
    """What is to be printed, and the files written or found up to date."""

    text: str = ""
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """Rows that may be ranked together, and what a reader must know of them."""

    name: str  # of its files, without ending
    protocol: str
    place: str  # on which data, with which encoder and preset, and what tells it from its neighbours
    metric: str
    taps: list[str]
    rows: pd.DataFrame  # as `tap_table` gives them
    beside: Beside | None
    notes: list[str]

    @property
    def in_percent(self) -> bool:
        """Accuracies are; they are kept as fractions everywhere else."""
        return "accuracy" in self.metric

    @property
    def title(self) -> str:
        """What the table shows."""
        return f"{self.protocol}: {self.heading} {self.place}"

    @property
    def heading(self) -> str:
        """The metric and its unit."""
        return f"{self.metric} (%)" if self.in_percent else self.metric

    def shown(self, value: float) -> float:
        """A number of the metric in its unit."""
        return 100 * value if self.in_percent else value

    def printed(self, row: Any) -> str:
        """The mean of a row of `rows`, in words where there is none."""
        return "failed" if row.failed else self.figure(row.mean)

    def figure(self, value: float | None) -> str:
        """A number as it is printed."""
        if value is None or math.isnan(value):
            return "-"
        return f"{self.shown(value):.{1 if self.in_percent else 3}f}"

    def published(self, row: Any) -> float | None:
        """The published number for a row of `rows`."""
        return self.beside.values.get((row.method, row.variant, row.tap)) if self.beside else None


def report(
    records: Iterable[Record],
    *,
    folder: Path,
    methods: Sequence[str] | None = None,
    headline: str = "accuracy",
    formats: Collection[str] = FORMATS,
) -> Report:
    """A table and a figure for each set of comparable records: printed, and saved under ``folder``."""
    wanted = {*methods, CEILING, FLOOR} if methods is not None else None
    groups = comparable(record for record in records if wanted is None or record["cell"]["method"] in wanted)
    result = Report()
    tables = [
        tabulated(group, place, methods or (), headline) for group, place in zip(groups, _places(groups), strict=True)
    ]
    for table in sorted(tables, key=lambda table: table.title):
        result.text += plain(table) + "\n"
        result.files += save_tables(table, folder / "tables", formats)
        result.files += plots.save_figure(table, folder / "figures", formats)
    return result


def comparable(records: Iterable[Record]) -> list[list[Record]]:
    """Records that may be ranked together, group by group.

    An untrained encoder and one from a file have no budget of ours to differ in, so
    they join every group that is otherwise like them.
    """
    groups: dict[str, list[Record]] = {}
    budgetless = []
    for record in records:
        if record["source"].get("kind") in ("untrained", "file"):
            budgetless.append(record)
        else:
            groups.setdefault(fingerprint([_conditions(record), _budget(record)]), []).append(record)
    homes = defaultdict(list)
    for group in groups.values():
        homes[fingerprint(_conditions(group[0]))].append(group)
    for record in budgetless:
        home = homes[fingerprint(_conditions(record))]
        if not home:
            home.append(groups.setdefault(fingerprint(_conditions(record)), []))
        for group in home:
            group.append(record)
    return list(groups.values())


def tabulated(group: list[Record], place: str, methods: Sequence[str], headline: str) -> Table:
    """One group of comparable records as a table."""
    lead, labels = group[0], _labels(group)
    # An untrained encoder of one seed is measured again for each budget: it is one measurement still.
    group = list({(labels[record["key"]], record["cell"]["seed"]): record for record in group}.values())
    order = {name: place for place, name in enumerate(dict.fromkeys([CEILING, FLOOR, *methods]))}
    group.sort(key=lambda record: (order.get(record["cell"]["method"], len(order)), labels[record["key"]]))
    numbers = [number for record in group if record["status"] == "ok" for number in record["metrics"]]
    metrics = list(dict.fromkeys(number["metric"] for number in numbers))
    metric = headline if headline in metrics or not metrics else metrics[0]
    taps = list(dict.fromkeys(number["tap"] for number in numbers if number["metric"] == metric)) or ["result"]
    rows = frame(group)
    rows["label"] = rows["key"].map(labels)
    cell = lead["cell"]
    published = beside(cell["protocol"], set(rows["method"]), taps, metric)
    # The title tells neighbours in one report apart, the digest also the files of two reports.
    digest = fingerprint([_conditions(lead), _budget(lead)])[:6]
    return Table(
        name=joined(*(cell[part] for part in ("protocol", "dataset", "encoder", "preset")), digest),
        protocol=cell["protocol"],
        place=place,
        metric=metric,
        taps=taps,
        rows=tap_table(rows, taps, metric),
        beside=published,
        notes=_notes(lead, group, labels, published),
    )


def tap_table(rows: pd.DataFrame, taps: Sequence[str], headline: str) -> pd.DataFrame:
    """Tidy records -> a row per label and tap: mean over seeds, half a 95 % interval, rank among the methods.

    ``rows`` is `records.frame`, with a column ``label`` where a method has several rows; the
    order is kept. What was not measured is NaN, with ``failed`` set where every seed failed.
    """
    if "label" not in rows:
        rows = rows.assign(label=rows["method"])
    table = []
    for label, of_label in rows.groupby("label", sort=False):
        method = of_label["method"].iloc[0]
        for tap in taps:
            cells = of_label[(of_label["metric"] == headline) & (of_label["tap"] == tap)]
            table.append(
                {
                    "label": label,
                    "method": method,
                    "variant": of_label["variant"].iloc[0],
                    "role": {CEILING: "ceiling", FLOOR: "floor"}.get(method, ""),
                    "tap": tap,
                    "mean": cells["value"].mean(),
                    "half": half_width(cells),
                    "seeds": len(cells),
                    "failed": bool((of_label["status"] == "failed").all()),
                }
            )
    ranked = pd.DataFrame(table)
    rivals = ranked[(ranked["role"] == "") & ranked["mean"].notna()].groupby("tap")["mean"]
    # Without a rival nobody is best.
    ranked["rank"] = rivals.rank(ascending=False, method="min").where(rivals.transform("size") > 1)
    return ranked


def half_width(cells: pd.DataFrame) -> float:
    """Half the 95 % interval of the mean: Student's t over seeds, or over test images where there is one seed."""
    values = cells["value"].dropna()
    if len(values) < 2:
        return float(((cells["high"] - cells["low"]) / 2).mean())
    t = T95[min(len(values) - 1, len(T95)) - 1]
    return t * float(values.std()) / math.sqrt(len(values))


def save_tables(table: Table, folder: Path, formats: Collection[str] = FORMATS) -> list[Path]:
    """Writes the table's text files where their content is new; returns the paths."""
    writers = {"md": markdown, "csv": comma_separated, "tex": latex}
    paths = []
    for ending in (ending for ending in writers if ending in formats):
        path = folder / f"{table.name}.{ending}"
        content = writers[ending](table).encode()
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
        paths.append(path)
    return paths


def plain(table: Table) -> str:
    """The table for a terminal; published numbers go below the measured ones if they do not fit beside them."""
    grids = [_grid(table, PLAIN, measured=True, published=True)]
    if max(map(len, grids[0].splitlines())) > WIDTH:
        grids = [_grid(table, PLAIN, measured=True), _grid(table, PLAIN, published=True)]
    notes = [textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in [*_read_as(table, PLAIN), *table.notes]]
    return "\n\n".join([table.title, *(grid for grid in grids if grid), "\n".join(notes)]) + "\n"


def markdown(table: Table) -> str:
    """The table as GitHub shows it."""
    notes = "\n".join(f"- {note}" for note in [*_read_as(table, MARKDOWN), *table.notes])
    return f"### {table.title}\n\n{_grid(table, MARKDOWN, measured=True, published=True)}\n\n{notes}\n"


def latex(table: Table) -> str:
    """The table for a paper that uses booktabs."""
    title, *notes = (
        "".join(ESCAPES.get(sign, sign) for sign in text) for text in [table.title, *_read_as(table, TEX), *table.notes]
    )
    grid = _grid(table, TEX, measured=True, published=True)
    lines = [r"\begin{table}", rf"\caption{{{title}}}", grid, *(rf"\par\footnotesize {note}" for note in notes)]
    return "\n".join([*lines, r"\end{table}"]).translate(str.maketrans(LATEX)) + "\n"


def comma_separated(table: Table) -> str:
    """The table's numbers, tidy, accuracies as fractions."""
    published = pd.Series([table.published(row) for row in table.rows.itertuples()], dtype="float64")
    rows = table.rows.assign(metric=table.metric, published=published)
    return rows.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def _grid(table: Table, style: Style, *, measured: bool = False, published: bool = False) -> str:
    """Methods by taps; measured columns first, then published ones."""
    if not measured and table.beside is None:
        return ""
    published = published and table.beside is not None
    header = ["method", *(table.taps if measured else [])]
    header += [f"{tap}{style.joint}(published)" for tap in table.taps if published]
    lines = []
    for label, rows in table.rows.groupby("label", sort=False):
        line = [f"{label} ({rows['role'].iloc[0]})" if rows["role"].iloc[0] else str(label)]
        cells = list(rows.itertuples())
        line += [_cell(table, row, style) for row in cells if measured]
        line += [table.figure(table.published(row)) for row in cells if published]
        lines.append(line)
    aligned = ["left"] + ["right"] * (len(header) - 1)
    return tabulate(lines, header, tablefmt=style.tablefmt, disable_numparse=True, colalign=aligned)


def _cell(table: Table, row: Any, style: Style) -> str:
    """A measured number with its interval, marked if it is best or second best."""
    text = table.printed(row)
    if not math.isnan(row.half):
        text += f" ± {table.figure(row.half)}"
    return {1: style.best, 2: style.second}.get(row.rank, "{}").format(text)


def _read_as(table: Table, style: Style) -> list[str]:
    """How to read the marks and intervals of a table."""
    seeds = table.rows[table.rows["seeds"] > 0].groupby("label", sort=False)["seeds"].min()
    if seeds.empty:
        return ["nothing was measured"]
    over = "over test images (bootstrap)" if seeds.max() == 1 else "over seeds (Student's t)"
    fewer = [f"{label} {count}" for label, count in seeds.items() if 1 < seeds.max() > count]
    over += f"; of fewer seeds: {', '.join(fewer)}" if fewer else ""
    marks = [f"{style.legend} of the methods, {CEILING} and {FLOOR} aside"] if table.rows["rank"].notna().any() else []
    return [*marks, f"±: half the 95 % interval {over}"]


def _notes(lead: Record, group: list[Record], labels: dict[str, str], published: Beside | None) -> list[str]:
    """What stands below a table: weights, deviations, protocol card, data and budget, published sources, failures."""
    origins: dict[str, dict[str, None]] = defaultdict(dict)  # dictionaries keep the order of the rows
    deviations, failures = {}, []
    for record in group:
        label, source = labels[record["key"]], record["source"]
        if record["status"] == "failed":
            failures.append(f"failed: {label}, seed {record['cell']['seed']}: {_last_line(record['error'])}")
            continue
        kind = str(source.get("kind"))
        file = f" ({Path(source['file']).name})" if kind == "file" and source.get("file") else ""
        origins[SOURCES.get(kind, kind)][label + file] = None
        deviations[label] = _said(record["deviations"])
    cell, views = lead["cell"], lead["settings"].get("recipe", {}).get("views")
    seeds = ", ".join(str(seed) for seed in sorted({record["cell"]["seed"] for record in group}))
    budget = f", budget {views:,} views" if views else ""
    return [
        *(f"weights {origin}: {', '.join(of)}" for origin, of in origins.items()),
        *(f"not the paper's settings, {label}: {what}" for label, what in deviations.items() if what),
        f"protocol card: {_said(lead['card'])}",
        f"data {cell['dataset']}, encoder {cell['encoder']}, preset {cell['preset']}{budget}, seeds {seeds}",
        *([f"published, never ranked with ours: {published.setting}"] if published else []),
        *(f"published in {source}" for source in (published.sources if published else ())),
        *failures,
    ]


def _labels(group: list[Record]) -> dict[str, str]:
    """Key -> name of the row: the method, and what tells it from other rows of that method."""
    names = {}
    alike = defaultdict(list)
    for record in group:
        parts = (record["cell"][part] for part in ("method", "checkpoint", "variant"))
        names[record["key"]] = ", ".join(str(part) for part in parts if part)
        alike[names[record["key"]]].append(record["settings"].get("method", {}))
    telling = {
        record["key"]: _telling(record["settings"].get("method", {}), alike[names[record["key"]]]) for record in group
    }
    return {key: f"{name}, {telling[key]}" if telling[key] else name for key, name in names.items()}


def _places(groups: list[list[Record]]) -> list[str]:
    """Where each group was measured, and what tells it from its neighbours."""
    named = []
    facts = defaultdict(list)
    for lead in (group[0] for group in groups):
        cell = lead["cell"]
        away = f" from {cell['pretrain_dataset']}" if cell["pretrain_dataset"] not in (None, cell["dataset"]) else ""
        name = f"on {cell['dataset']}{away}, {cell['encoder']}, {cell['preset']}"
        flat: dict[str, Any] = {}
        for part, value in (_conditions(lead) | _budget(lead)).items():
            flat |= value if isinstance(value, dict) else {part: value}
        named.append((name, flat))
        facts[cell["protocol"], name].append(flat)
    return [
        name + (f"; {telling}" if (telling := _telling(own, facts[own["protocol"], name])) else "")
        for name, own in named
    ]


def _conditions(record: Record) -> dict[str, Any]:
    """What must be equal between two records to rank them, whatever their weights."""
    return {
        **{part: record["cell"][part] for part in ("protocol", "dataset", "encoder", "preset")},
        "data": record["identity"].get("dataset"),
        "encoder settings": record["settings"].get("encoder"),
        "dataset settings": record["settings"].get("dataset"),
        "card": record["card"],
    }


def _budget(record: Record) -> dict[str, Any]:
    """What must be equal besides to rank weights that are trained here."""
    recipe = record["settings"].get("recipe", {})
    return {
        "pretrain_dataset": record["cell"]["pretrain_dataset"],
        "pretrain_data": record["identity"].get("pretrain_dataset"),
        **{name: value for name, value in recipe.items() if name not in ("seed", "precision")},
    }


def _telling(own: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """Those of one's settings that are not the same everywhere."""
    return _said({name: value for name, value in own.items() if any(other.get(name) != value for other in others)})


def _said(settings: dict[str, Any]) -> str:
    """Settings as a reader wants them."""
    words = {
        name: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for name, value in settings.items()
    }
    return "; ".join(f"{name} = {value}" for name, value in words.items())


def _last_line(error: str | None) -> str:
    """What a traceback comes to."""
    return (error or "").strip().rpartition("\n")[2] or "no reason recorded"
