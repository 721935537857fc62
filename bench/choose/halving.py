"""Successive halving: all candidates on few images first, ever fewer on more images, the best five on all.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..data import DatasetInfo
from ..errors import StorageError, UserError, require
from ..planning.build import build_plan
from ..planning.limit import is_limited
from ..planning.plan import Job, Plan, PlannedDatasets, Request
from ..plugins.discovery import find_plugins
from ..progress import Progress
from ..records import store as records
from ..records.record import Record
from ..run import runner
from ..run.measured import Measured
from ..run.preflight import check_jobs
from .candidates import Candidate, find_candidates, narrowed, plans_of
from .clock import OVER, Clock, OutOfTime, in_minutes

PROTOCOLS = ("linear", "knn")  # the first one decides
FINALISTS = 5
FIRST_IMAGES = 500  # of each split in the first round, or FIRST_PER_CLASS of each class if these are more
FIRST_PER_CLASS = 10
MAX_RESERVE = 0.5  # share of the time that is at most kept for the last round while earlier ones are measured
FEW_NEIGHBOURS = 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate with its records of one round."""

    candidate: Candidate
    records: dict[str, Record]  # by protocol

    def accuracy(self, protocol: str) -> float:
        """The accuracy that a protocol measured."""
        found = self.records[protocol].measurement(self.candidate.tap, "accuracy")
        return found.value if found else math.nan

    @property
    def score(self) -> tuple[float, ...]:
        """What decides, the most important first: the accuracy with each protocol."""
        return tuple(self.accuracy(protocol) for protocol in PROTOCOLS)

    @property
    def images(self) -> int:
        """How many images of both splits were used."""
        record = self.records[PROTOCOLS[0]]
        return record.card_count("train_images") + record.card_count("test_images")

    @property
    def seconds(self) -> float:
        """How long features and protocols took, without pretraining. Protocols share the features."""
        costs = [record.cost for record in self.records.values()]
        return max(cost.extract_seconds or 0 for cost in costs) + sum(cost.probe_seconds or 0 for cost in costs)

    def seconds_on(self, info: DatasetInfo) -> float:
        """How long the same would take on these data, without pretraining."""
        return self.seconds * (info.train_images + info.test_images) / self.images

    @property
    def images_per_second(self) -> float | None:
        """The speed of reading features here, decoding of pictures included; None where they were in the cache."""
        seconds = max(record.cost.extract_seconds or 0 for record in self.records.values())
        return self.images / seconds if seconds else None


@dataclass(kw_only=True)
class Outcome:
    """What the rounds gave."""

    info: DatasetInfo  # of all images
    limit: int | None = None  # images of each split in the last round; None: all
    finalists: list[Entry] = field(default_factory=list)  # of the last round, the best first
    others: list[tuple[Entry, int | None]] = field(default_factory=list)  # left behind by an earlier round, its limit
    left_out: dict[str, str] = field(default_factory=dict)  # name -> why it was not measured, or not on all images
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All work of a choice, known before any of it is done."""

    request: Request
    info: DatasetInfo  # of all images
    candidates: list[Candidate]
    limits: list[int | None]  # images of each split in each round; None: all


def plan_rounds(request: Request) -> Schedule:
    """The candidates and rounds of a request. Raises UserError for a mistake."""
    request = replace(request, protocols=PROTOCOLS, limit=None)
    info = build_plan(narrowed(request, ("random",), request.encoder, protocols=None)).dataset_info
    request = with_fitting_neighbours(request, info)
    candidates = find_candidates(request)
    limits = round_limits(info, sum(not candidate.is_reference for candidate in candidates))
    check_candidates(request, candidates, limits[0])
    return Schedule(request=request, info=info, candidates=candidates, limits=limits)


def run_rounds(request: Request, minutes: float) -> Generator[Any, None, Outcome]:
    """Measures the candidates of a request within so many minutes; yields progress and records as `runner` does.

    Raises UserError for mistakes before any work, and if no candidate could be measured.
    """
    require(math.isfinite(minutes) and minutes > 0, "--minutes", minutes, "above 0")
    clock = Clock(60 * minutes)
    schedule = plan_rounds(request)
    request, candidates, limits = schedule.request, schedule.candidates, schedule.limits
    outcome = Outcome(info=schedule.info)
    for number, limit in enumerate(limits):
        entries = yield from measure_round(request, candidates, limit, clock, outcome)
        if all(entry.candidate.is_reference for entry in entries) and number:
            break
        measured = {entry.candidate.name for entry in entries}
        outcome.others += [
            (entry, outcome.limit) for entry in outcome.finalists if entry.candidate.name not in measured
        ]
        outcome.finalists, outcome.limit = entries, limit
        candidates = surviving(entries, is_last=limits[number + 1 : number + 2] == [None])
    outcome.seconds = clock.spent
    if not outcome.finalists:
        name, reason = next(iter(outcome.left_out.items()))
        raise UserError(f"choose: no candidate could be measured; {name}: {reason}")
    return outcome


def with_fitting_neighbours(request: Request, info: DatasetInfo) -> Request:
    """The request with fewer neighbours for kNN where the first round has not as many images as the default."""
    if any(text.startswith("knn.k=") for text in request.assignments):
        return request
    images = min(info.train_images, first_limit(info))
    default = find_plugins("protocol", request.plugin_files)["knn"].defaults["k"]
    if max(default) <= images:
        return request
    return replace(request, assignments=(*request.assignments, f"knn.k={min(FEW_NEIGHBOURS, images)}"))


def first_limit(info: DatasetInfo) -> int:
    """Images of each split in the first round."""
    return max(FIRST_IMAGES, FIRST_PER_CLASS * len(info.classes))


def round_limits(info: DatasetInfo, candidates: int) -> list[int | None]:
    """Images of each split in each round, twice as many every time; the last round has all (None)."""
    halvings = max(1, math.ceil(math.log2(max(1, candidates) / FINALISTS)))
    limits = [first_limit(info) * 2**number for number in range(halvings)]
    return [*(limit for limit in limits if is_limited(info, limit)), None]


def surviving(entries: Sequence[Entry], *, is_last: bool) -> list[Candidate]:
    """The candidates of the next round: the better half, five for the last round, and all references."""
    methods = [entry.candidate for entry in entries if not entry.candidate.is_reference]
    kept = FINALISTS if is_last else max(FINALISTS, math.ceil(len(methods) / 2))
    return methods[:kept] + [entry.candidate for entry in entries if entry.candidate.is_reference]


def check_candidates(request: Request, candidates: list[Candidate], limit: int | None) -> None:
    """Raises UserError for data, settings, layers and files that cannot be used, before any work."""
    plans = {id(plan): plan for plan, *_ in plans_of(request, candidates, limit)}
    for plan in plans.values():
        check_jobs(plan, plan.jobs)
    for plan in [*plans.values()][:1]:
        PlannedDatasets(plan).probing_dataset()


def measure_round(
    request: Request,
    candidates: list[Candidate],
    limit: int | None,
    clock: Clock,
    outcome: Outcome,
) -> Generator[Any, None, list[Entry]]:
    """Measures the candidates for which there is time; the best first. Notes in ``outcome`` why others are not."""
    earlier = {entry.candidate.name: entry for entry in outcome.finalists}
    entries: list[Entry] = []
    for plan, candidate, job in plans_of(request, candidates, limit):
        if job.missing:
            reserve = 0.0 if limit is None else seconds_for_last_round(entries, outcome.info, clock)
            reason = why_no_time(earlier.get(candidate.name), plan, clock, reserve)
            reason = reason or (yield from measure_job(plan, job, clock, reserve))
            if reason:
                outcome.left_out[candidate.name] = reason
                continue
        found = [(cell, records.find(request.results / "records", cell.key)) for cell in job.cells]
        of_protocol = {cell.protocol.name: records.read(path) for cell, path in found if path}
        entries.append(Entry(candidate=candidate, records=of_protocol))
    return sorted(entries, key=lambda entry: entry.score, reverse=True)


def seconds_for_last_round(entries: Sequence[Entry], info: DatasetInfo, clock: Clock) -> float:
    """What the last round will take for the best of these and the references; at most `MAX_RESERVE` of the time."""
    ranked = sorted(entries, key=lambda entry: entry.score, reverse=True)
    last = {candidate.name for candidate in surviving(ranked, is_last=True)}
    needed = sum(entry.seconds_on(info) for entry in ranked if entry.candidate.name in last)
    return min(needed, MAX_RESERVE * clock.seconds)


def why_no_time(before: Entry | None, plan: Plan, clock: Clock, reserve: float) -> str:
    """Why a candidate does not fit into the time that is left, by its speed in the round before; "" if it does."""
    if clock.left <= reserve:
        return OVER
    images = plan.dataset_info.train_images + plan.dataset_info.test_images
    needed = before.seconds_on(plan.dataset_info) if before else 0.0
    if needed <= clock.left - reserve:
        return ""
    return f"needs about {in_minutes(needed)} for {images:,} images, {in_minutes(clock.left)} were left"


def measure_job(plan: Plan, job: Job, clock: Clock, reserve: float) -> Generator[Any, None, str]:
    """Measures the missing cells of one job; returns why they could not be measured, or "" if they were."""
    reason = ""
    try:
        for event in clock.watch(runner.measure_missing(replace(plan, jobs=(job,))), reserve):
            if isinstance(event, Measured) and event.record.failed:
                reason = event.record.error or "failed"
            # The workload of one candidate is not that of the choice.
            yield replace(event, workload=None) if isinstance(event, Progress) else event
    except StorageError:
        raise
    except (OutOfTime, UserError) as error:
        return str(error)
    return reason
