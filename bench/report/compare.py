"""Did anything get worse? Two sets of records are compared cell by cell, by paired tests on the same test images.

A cell counts as better or worse only if the whole interval of the difference is beyond the tolerance, so that neither a
lucky image nor rounding decides. A cell that cannot be compared is reported with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, did_you_mean, program_name, require
from ..records.comparable import changed_values, given_weights, newest_of_each_cell, obstacle, settings_by_name
from ..records.predictions import Predictions, read_predictions
from ..records.record import CellNames, Record
from ..records.store import read_all
from ..statistics import paired_bootstrap
from ..storage.hashing import fingerprint

NAMES = tuple(field.name for field in fields(CellNames) if field.name != "seed")
VERDICTS = ("worse", "incomparable", "missing", "better", "new", "same")
"""In the order in which a reader wants them."""

Names = tuple[Any, ...]  # of a cell, in the order of NAMES
Pair = tuple[Names, "Side | None", "Side | None"]


@dataclass(frozen=True, kw_only=True)
class CellComparison:
    """One cell at one tap."""

    names: Names
    tap: str
    metric: str
    verdict: str  # one of VERDICTS
    unit: str = ""  # of the metric
    baseline: float | None = None  # means over the seeds
    candidate: float | None = None
    difference: float | None = None  # candidate minus baseline
    low: float | None = None  # its interval
    high: float | None = None
    seeds: tuple[int, ...] = ()
    why: str = ""  # why it cannot be compared, or what else has changed


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All cells of two result folders, and how they were compared."""

    cells: list[CellComparison]
    sides: tuple[str, str]  # what is known of how baseline and candidate were measured
    damaged: list[tuple[Path, str]]
    tolerance: float
    level: float

    @property
    def counts(self) -> dict[str, int]:
        """The number of cells of each verdict that occurs."""
        found = Counter(cell.verdict for cell in self.cells)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def worse(self) -> list[CellComparison]:
        """The cells that got worse."""
        return [cell for cell in self.cells if cell.verdict == "worse"]

    @property
    def exit_code(self) -> int:
        """1 if a cell got worse; otherwise 2 if a cell could not be compared; otherwise 0."""
        if self.counts.get("worse"):
            return 1
        return 2 if self.counts.get("incomparable") or self.counts.get("missing") else 0

    def __str__(self) -> str:
        from .comparison_formats import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """What changed, for a notebook."""
        from .comparison_formats import as_html

        return as_html(self)


@dataclass(frozen=True)
class Side:
    """One cell's records in one folder, by seed."""

    seeds: dict[int, Record]

    @cached_property
    def measured(self) -> dict[int, Record]:
        """Those that did not fail, in the order of the seeds."""
        return {seed: self.seeds[seed] for seed in sorted(self.seeds) if not self.seeds[seed].failed}

    @cached_property
    def predictions(self) -> list[Predictions | None]:
        """The predictions of each seed. Raises UserError for a damaged file."""
        return [read_predictions(record) for record in self.measured.values()]

    def correct(self, tap: str, metric: str) -> np.ndarray | None:
        """Which test images were right (S, N); None unless the metric is the share of them for every seed."""
        right = [
            predictions.correct(record.measurement(tap, metric)) if predictions else None
            for record, predictions in zip(self.measured.values(), self.predictions, strict=True)
        ]
        known = [of_seed for of_seed in right if of_seed is not None]
        return np.stack(known) if len(known) == len(right) and len({len(of_seed) for of_seed in known}) == 1 else None

    def higher_is_better(self, tap: str, metric: str) -> bool:
        """Whether a higher value of a metric is better."""
        found = [record.measurement(tap, metric) for record in self.measured.values()]
        return all(measurement.higher_is_better for measurement in found if measurement)

    def mean(self, tap: str, metric: str) -> float | None:
        """A metric's mean over the seeds; None if a seed has no such number."""
        found = [record.measurement(tap, metric) for record in self.measured.values()]
        values = [measurement.value for measurement in found if measurement]
        return float(np.mean(values)) if values and not np.isnan(values).any() else None


def compare_folders(
    baseline: Path,
    candidate: Path,
    *,
    tolerance: float = 0.01,
    level: float = 0.95,
    methods: Collection[str] | None = None,
    headlines: Mapping[str, str] | None = None,
) -> Comparison:
    """Every cell of two result folders; ``headlines`` names each protocol's metric, its first one where it has none.

    Raises UserError where a folder holds no records, none is of a method asked for, none was measured, or tolerance
    or level is out of range.
    """
    (old, damaged_old), (new, damaged_new) = (read_all(records_folder(side)) for side in (baseline, candidate))
    for folder, found in ((baseline, old), (candidate, new)):
        if not found:
            raise UserError(
                f"{folder}: contains no records; make some, for example with "
                f"{program_name()} --methods rotnet --results {folder}"
            )
    result = compare_records(old, new, tolerance=tolerance, level=level, methods=methods, headlines=headlines)
    return replace(result, damaged=damaged_old + damaged_new)


def compare_records(
    old: list[Record],
    new: list[Record],
    *,
    tolerance: float = 0.01,
    level: float = 0.95,
    methods: Collection[str] | None = None,
    headlines: Mapping[str, str] | None = None,
) -> Comparison:
    """Every cell of two sets of records, as `compare_folders` compares those of two folders."""
    require(0 <= tolerance < 1, "--tolerance", tolerance, "a share of the images, from 0 to below 1")
    require(0 < level < 1, "--level", level, "between 0 and 1")
    known = {record.cell.method for record in old + new}
    if unknown := sorted(set(methods or ()) - known):
        raise UserError(f"--methods: no record is of {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
    cells = [
        cell
        for pair in pair_cells(group_by_cell(old), group_by_cell(new))
        if methods is None or pair[0][NAMES.index("method")] in methods
        for cell in compare_cell(*pair, headlines or {}, tolerance, level)
    ]
    if not cells:
        raise UserError("compare: no cell was measured on either side; every record is of a failure.")
    return Comparison(
        cells=sorted(cells, key=lambda cell: VERDICTS.index(cell.verdict)),
        sides=(provenance_line(old), provenance_line(new)),
        damaged=[],
        tolerance=tolerance,
        level=level,
    )


def records_folder(results: Path) -> Path:
    """The folder of records in a results folder, which may be named itself."""
    return results if results.name == "records" else results / "records"


def provenance_line(found: list[Record]) -> str:
    """Commits, devices and precisions of a set of records."""
    values: dict[str, dict[str, None]] = {"commit": {}, "device": {}, "precision": {}}
    for made in (record.provenance for record in found):
        commit = (made.commit or "unknown")[:12] + (" with changes" if made.dirty else "")
        for name, value in (("commit", commit), ("device", made.device), ("precision", made.precision)):
            if value:
                values[name][value] = None
    return "; ".join(f"{name} {', '.join(of)}" for name, of in values.items() if of)


def group_by_cell(found: list[Record]) -> dict[Names, dict[str, Side]]:
    """The newest record of each cell, by the names of the cell, then by its settings and the weights given to it."""
    cells: dict[Names, dict[str, Side]] = {}
    for record in newest_of_each_cell(found)[0]:
        names = tuple(getattr(record.cell, name) for name in NAMES)
        settings = fingerprint([settings_by_name(record), given_weights(record)])
        side = cells.setdefault(names, {}).setdefault(settings, Side({}))
        side.seeds[record.cell.seed] = record
    return cells


def pair_cells(old: dict[Names, dict[str, Side]], new: dict[Names, dict[str, Side]]) -> Iterator[Pair]:
    """Pair cells by name: first those with equal settings; if exactly one is left on each side, those two."""
    for names in dict.fromkeys([*old, *new]):
        left, right = dict(old.get(names, {})), dict(new.get(names, {}))
        for settings in [settings for settings in left if settings in right]:
            yield names, left.pop(settings), right.pop(settings)
        if len(left) == len(right) == 1:
            yield names, left.popitem()[1], right.popitem()[1]
        yield from ((names, side, None) for side in left.values())
        yield from ((names, None, side) for side in right.values())


def compare_cell(
    names: Names, old: Side | None, new: Side | None, headlines: Mapping[str, str], tolerance: float, level: float
) -> Iterator[CellComparison]:
    """One cell at each of its taps; nothing where neither side has measured it."""
    lead = next((record for side in (old, new) if side for record in side.measured.values()), None)
    if lead is None:
        return
    metrics = [measurement.metric for measurement in lead.measurements]
    headline = headlines.get(lead.cell.protocol, "")
    metric = headline if headline in metrics else next(iter(metrics), "")
    for tap in dict.fromkeys(measurement.tap for measurement in lead.measurements if measurement.metric == metric):
        baseline, candidate = (side.mean(tap, metric) if side else None for side in (old, new))
        found = lead.measurement(tap, metric)
        cell = CellComparison(
            names=names,
            tap=tap,
            metric=metric,
            unit=found.unit if found else "",
            verdict="new",
            baseline=baseline,
            candidate=candidate,
        )
        yield judge(cell, old, new, tolerance, level)


def judge(cell: CellComparison, old: Side | None, new: Side | None, tolerance: float, level: float) -> CellComparison:
    """The cell with its verdict and the reason for it."""
    if old is None or not old.measured:
        return replace(cell, seeds=tuple(new.measured) if new else ())
    cell = replace(cell, seeds=tuple(old.measured))
    if new is None:
        return replace(cell, verdict="missing", why="not measured by the candidate")
    failures = [new.seeds[seed].error for seed in old.measured if seed in new.seeds and new.seeds[seed].failed]
    if failures:
        return replace(cell, verdict="worse", why=f"failed: {failures[0]}")
    if why := side_obstacle(old, new, cell):
        return replace(cell, verdict="incomparable", why=why)
    interval = difference(old, new, cell, level)
    if interval is None:
        return replace(cell, verdict="incomparable", why=f"no {cell.metric}")
    change, low, high = interval
    before, after = (settings_by_name(next(iter(side.measured.values()))) for side in (old, new))
    return replace(
        cell,
        verdict=verdict_of(low, high, tolerance, old.higher_is_better(cell.tap, cell.metric)),
        difference=change,
        low=low,
        high=high,
        why=changed_values(before, after),
    )


def verdict_of(low: float, high: float, tolerance: float, higher_is_better: bool) -> str:
    """The verdict for the interval of a difference: it must be beyond the tolerance as a whole."""
    if -tolerance <= high and low <= tolerance:
        return "same"
    return "better" if (low > tolerance) == higher_is_better else "worse"


def side_obstacle(old: Side, new: Side, cell: CellComparison) -> str:
    """Why two sides must not be compared at a tap; "" if they may be."""
    if old.measured.keys() != new.measured.keys():
        seeds = (", ".join(map(str, side.measured)) or "none" for side in (old, new))
        return "seeds {} in the baseline, {} in the candidate".format(*seeds)
    for before, after in zip(old.measured.values(), new.measured.values(), strict=True):
        if why := obstacle(before, after):
            return why
    try:
        pairs = list(zip(old.predictions, new.predictions, strict=True))
    except UserError as error:
        return str(error)
    return next((why for pair in pairs if (why := prediction_obstacle(*pair, cell))), "")


def prediction_obstacle(old: Predictions | None, new: Predictions | None, cell: CellComparison) -> str:
    """Why two sets of predictions cannot be compared image by image; "" if they can, or if there are none."""
    before, after = (side.of(cell.tap, cell.metric) if side else None for side in (old, new))
    if before is None and after is None:
        return ""
    if old is None or new is None or before is None or after is None:
        return f"predictions only in the {'candidate' if before is None else 'baseline'}"
    if len(before) != len(after):
        return f"predictions of {len(before)} images in the baseline, of {len(after)} in the candidate"
    return "" if np.array_equal(old.labels, new.labels) else "other labels of the test images"


def difference(old: Side, new: Side, cell: CellComparison, level: float) -> tuple[float, float, float] | None:
    """Candidate minus baseline and the interval of that; None where one of them has no number.

    A metric that is not the share of right predictions has no interval: its difference alone is compared with the
    tolerance.
    """
    before, after = (side.correct(cell.tap, cell.metric) for side in (old, new))
    if before is not None and after is not None:
        return paired_bootstrap(after, before, level=level)
    if cell.baseline is None or cell.candidate is None:
        return None
    change = cell.candidate - cell.baseline
    return change, change, change
