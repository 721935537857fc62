"""Did anything get worse? Two sets of records cell by cell, by paired tests on the same test images.

A cell is better or worse where the whole interval of the difference lies beyond the tolerance,
so that neither a lucky image nor a rounding decides. What cannot be compared is told and never passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, did_you_mean, program_name, require
from ..records import record as records
from ..records.record import CELL, Record
from ..statistics import paired_bootstrap
from ..storage.hashing import fingerprint

NAMES = tuple(name for name in CELL if name != "seed")
VERDICTS = ("worse", "incomparable", "missing", "better", "new", "same")
"""In the order in which a reader wants them."""

Names = tuple[Any, ...]
Pair = tuple[Names, "Side | None", "Side | None"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One cell at one tap."""

    names: Names  # in the order of NAMES
    tap: str
    metric: str
    verdict: str  # one of VERDICTS
    baseline: float | None = None  # means over the seeds
    candidate: float | None = None
    difference: float | None = None  # candidate minus baseline
    low: float | None = None  # its interval
    high: float | None = None
    seeds: tuple[int, ...] = ()
    why: str = ""  # what keeps it from being compared, or what else has changed


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All cells of two result folders, and how they were judged."""

    cells: list[Compared]
    sides: tuple[str, str]  # what is known of how baseline and candidate were measured
    damaged: list[tuple[Path, str]]
    tolerance: float
    level: float

    @property
    def counts(self) -> dict[str, int]:
        """Cells of each verdict that occurs."""
        found = Counter(cell.verdict for cell in self.cells)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def exit_code(self) -> int:
        """1 where a cell got worse, 2 where nothing is known to be worse and a cell could not be compared, else 0."""
        if self.counts.get("worse"):
            return 1
        return 2 if self.counts.get("incomparable") or self.counts.get("missing") else 0


def compared(
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
    require(0 <= tolerance < 1, "--tolerance", tolerance, "a share of the images, from 0 to below 1")
    require(0 < level < 1, "--level", level, "between 0 and 1")
    folders = [recorded(side) for side in (baseline, candidate)]
    (old, bad), (new, broken) = (records.read_all(folder) for folder in folders)
    for folder, found in zip((baseline, candidate), (old, new), strict=True):
        if not found:
            raise UserError(
                f"{folder}: contains no records; make some, for example with "
                f"{program_name()} --methods rotnet --results {folder}"
            )
    known = {record["cell"]["method"] for record in old + new}
    if unknown := sorted(set(methods or ()) - known):
        raise UserError(f"--methods: no record is of {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
    cells = [
        cell
        for pair in pairs(grid(folders[0], old), grid(folders[1], new))
        if methods is None or pair[0][NAMES.index("method")] in methods
        for cell in judged(*pair, headlines or {}, tolerance, level)
    ]
    if not cells:
        raise UserError(f"{baseline}, {candidate}: no cell was measured on either side; every record is of a failure.")
    return Comparison(
        cells=sorted(cells, key=lambda cell: VERDICTS.index(cell.verdict)),
        sides=(measured(old), measured(new)),
        damaged=bad + broken,
        tolerance=tolerance,
        level=level,
    )


def recorded(side: Path) -> Path:
    """Where a results folder keeps its records; the records' own folder will do too."""
    return side if side.name == "records" else side / "records"


def measured(found: list[Record]) -> str:
    """Commit, device and precision of a set of records."""
    seen: dict[str, dict[str, None]] = {"commit": {}, "device": {}, "precision": {}}
    for record in found:
        facts = record["provenance"]
        commit = str(facts.get("commit") or "unknown")[:12] + (" with changes" if facts.get("dirty") else "")
        seen["commit"][commit] = None
        for name in ("device", "precision"):
            if facts.get(name):
                seen[name][str(facts[name])] = None
    return "; ".join(f"{name} {', '.join(values)}" for name, values in seen.items() if values)


def grid(folder: Path, found: list[Record]) -> dict[Names, dict[str, Side]]:
    """Records by the names of their cell, then by their settings."""
    cells: dict[Names, dict[str, Side]] = {}
    for record in found:
        names = tuple(record["cell"][name] for name in NAMES)
        side = cells.setdefault(names, {}).setdefault(fingerprint(settings(record)), Side(folder, {}))
        side.seeds[record["cell"]["seed"]] = record
    return cells


def pairs(old: dict[Names, dict[str, Side]], new: dict[Names, dict[str, Side]]) -> Iterator[Pair]:
    """Cells of the same names: those of the same settings, and the one of either side that is left over."""
    for names in dict.fromkeys([*old, *new]):
        left, right = dict(old.get(names, {})), dict(new.get(names, {}))
        for alike in [made for made in left if made in right]:
            yield names, left.pop(alike), right.pop(alike)
        if len(left) == len(right) == 1:
            yield names, left.popitem()[1], right.popitem()[1]
        yield from ((names, side, None) for side in left.values())
        yield from ((names, None, side) for side in right.values())


@dataclass(frozen=True)
class Side:
    """One cell's records in one folder, by seed."""

    folder: Path
    seeds: dict[int, Record]

    @property
    def measured(self) -> dict[int, Record]:
        """Those that did not fail, in the order of the seeds."""
        return {seed: self.seeds[seed] for seed in sorted(self.seeds) if self.seeds[seed]["status"] == "ok"}

    @cached_property
    def predictions(self) -> list[dict[str, np.ndarray]]:
        """``{tap: (N,), "labels": (N,)}`` for each seed. Raises UserError for a damaged file."""
        return [records.read_predictions(self.folder, record) for record in self.measured.values()]

    def correct(self, tap: str, metric: str) -> np.ndarray | None:
        """Which test images were right (S, N); None where the metric is not the share of them."""
        if not all(tap in answers for answers in self.predictions):
            return None
        right = np.stack([answers[tap] == answers["labels"] for answers in self.predictions])
        mean = self.mean(tap, metric)
        return right if mean is not None and abs(right.mean() - mean) < 1e-6 else None

    def mean(self, tap: str, metric: str) -> float | None:
        """A metric's mean over the seeds, None where one has no such number."""
        values = [
            number["value"]
            for record in self.measured.values()
            for number in record["metrics"]
            if (number["tap"], number["metric"]) == (tap, metric)
        ]
        return float(np.mean(values)) if values and None not in values else None


def judged(
    names: Names, old: Side | None, new: Side | None, headlines: Mapping[str, str], tolerance: float, level: float
) -> Iterator[Compared]:
    """One cell at each of its taps; nothing where no side has measured it."""
    lead = next((record for side in (old, new) if side for record in side.measured.values()), None)
    if lead is None:
        return
    metrics = [str(number["metric"]) for number in lead["metrics"]]
    headline = headlines.get(lead["cell"]["protocol"], "")
    metric = headline if headline in metrics else next(iter(metrics), "")
    for tap in dict.fromkeys(number["tap"] for number in lead["metrics"] if number["metric"] == metric):
        before, after = (side.mean(tap, metric) if side else None for side in (old, new))
        cell = Compared(names=names, tap=tap, metric=metric, verdict="new", baseline=before, candidate=after)
        if old is None or not old.measured:
            yield replace(cell, seeds=tuple(new.measured) if new else ())
            continue
        cell = replace(cell, seeds=tuple(old.measured))
        if new is None:
            yield replace(cell, verdict="missing", why="not measured by the candidate")
        elif failed := [
            new.seeds[seed]["error"] for seed in old.measured if seed in new.seeds.keys() - new.measured.keys()
        ]:
            yield replace(cell, verdict="worse", why=f"failed: {failed[0]}")
        elif why := obstacle(old, new, tap):
            yield replace(cell, verdict="incomparable", why=why)
        else:
            sides = [side.correct(tap, metric) for side in (new, old)]
            if sides[0] is not None and sides[1] is not None:
                difference, low, high = paired_bootstrap(sides[0], sides[1], level=level)
            elif before is None or after is None:
                yield replace(cell, verdict="incomparable", why=f"no {metric}")
                continue
            else:
                difference = low = high = after - before
            yield replace(
                cell,
                verdict="worse" if high < -tolerance else "better" if low > tolerance else "same",
                difference=difference,
                low=low,
                high=high,
                why=changes(*(settings(next(iter(side.measured.values()))) for side in (old, new))),
            )


def obstacle(old: Side, new: Side, tap: str) -> str:
    """Why two sides must not be compared at a tap, "" where they may be."""
    if old.measured.keys() != new.measured.keys():
        seeds = (", ".join(map(str, side.measured)) or "none" for side in (old, new))
        return "seeds {} in the baseline, {} in the candidate".format(*seeds)
    for before, after in zip(old.measured.values(), new.measured.values(), strict=True):
        for name, kind in (("dataset", "test"), ("pretrain_dataset", "pretraining")):
            if before["identity"].get(name) != after["identity"].get(name):
                hashes = (str(record["identity"].get(name))[:12] for record in (before, after))
                return f"other {kind} data: {' → '.join(hashes)}"
        if told := changes(before["card"], after["card"]):
            return f"other protocol card: {told}"
    try:
        answers = list(zip(old.predictions, new.predictions, strict=True))
    except UserError as error:
        return str(error)
    for one, other in answers:
        if (tap in one) != (tap in other):
            return f"predictions only in the {'baseline' if tap in one else 'candidate'}"
        if tap in one and len(one[tap]) != len(other[tap]):
            return f"predictions of {len(one[tap])} images in the baseline, of {len(other[tap])} in the candidate"
        if tap in one and not np.array_equal(one["labels"], other["labels"]):
            return "other labels of the test images"
    return ""


def settings(record: Record) -> dict[str, Any]:
    """Every setting by ``part.name``; the seed and the data have a word of their own."""
    return {
        f"{part}.{name}": value
        for part in ("method", "encoder", "recipe", "protocol")
        for name, value in record["settings"].get(part, {}).items()
        if name != "seed"
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Which values differ, and how."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(f"{name} {old.get(name)} → {new.get(name)}" for name in names)
