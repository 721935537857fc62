"""The candidates of a choice: which words are ready on this machine, and what each encoder is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..checkpoints.registry import registered_checkpoints
from ..checkpoints.resolve import named_encoder
from ..errors import UserError
from ..planning.build import build_plan
from ..planning.plan import Job, Plan, Request
from ..plugins.discovery import find_plugins
from ..run.encoder import build_encoder, find_pretrained
from .footprint import Footprint, measure_footprint


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An encoder with its weights, as one of those to choose from."""

    name: str  # its word in --methods
    method: str  # the word with which its own request names it
    encoder: str  # as in --encoder
    tap: str  # the layer that is read
    is_reference: bool  # to compare with, and never advised: untrained, or trained with these labels
    to_pretrain: bool
    licence: str
    footprint: Footprint


def ready_words(request: Request) -> tuple[str, ...]:
    """The words of --methods whose weights are on this machine for these data: cached, bundled, fetched or none."""
    try:
        plan = build_plan(narrowed(request, ("all",), request.encoder, protocols=None))
    except UserError:  # there may be too few images to pretrain on; what is wrong with the data is raised again here
        plan = build_plan(narrowed(request, ("random",), request.encoder, protocols=None))
    methods = [job.name for job in plan.jobs if not job.trains or find_pretrained(plan, job)]
    known = find_plugins("method", request.plugin_files).values()
    return (*methods, *(one.token for one in registered_checkpoints(known) if one.is_local))


def find_candidates(request: Request) -> list[Candidate]:
    """The candidates that a request names, those to pretrain last.

    A word that names an encoder and no method is that encoder, untrained. Each is read at ``request.taps``, otherwise
    at its last tap. Raises UserError for a mistake.
    """
    encoders = find_plugins("encoder", request.plugin_files).keys() - find_plugins("method", request.plugin_files)
    words = dict.fromkeys(request.methods)
    untrained = [word for word in words if word in encoders]
    found: list[Candidate] = []
    if methods := tuple(word for word in words if word not in untrained):
        build_plan(replace(request, methods=methods))  # so that a wrong setting is a mistake
        plan = build_plan(narrowed(request, methods, request.encoder, protocols=None))
        found += [describe_candidate(plan, job) for job in plan.jobs]
    for word in untrained:
        plan = build_plan(narrowed(request, ("random",), word, protocols=None))
        found += [replace(describe_candidate(plan, job), name=word) for job in plan.jobs]
    return sorted(found, key=lambda candidate: candidate.to_pretrain)


def narrowed(request: Request, methods: tuple[str, ...], encoder: str, **changes: Any) -> Request:
    """The request with these methods and this encoder, without settings of others and of protocols that do not run."""
    request = replace(request, methods=methods, encoder=encoder, **changes)
    running = {*methods, *(request.protocols or ()), encoder.partition("/")[0], *map(named_encoder, methods)}
    idle = {name for kind in ("method", "encoder", "protocol") for name in find_plugins(kind, request.plugin_files)}
    idle -= running
    if methods == ("all",):
        idle -= find_plugins("method", request.plugin_files).keys()
    kept = tuple(text for text in request.assignments if text.partition(".")[0] not in idle)
    return replace(request, assignments=kept)


def describe_candidate(plan: Plan, job: Job) -> Candidate:
    """One encoder of a plan, which is built without weights."""
    encoder = build_encoder(plan, job, torch.device("meta"))
    taps = plan.request.taps or encoder.taps[-1:]
    if len(taps) != 1:
        raise UserError(f"--taps {','.join(taps)}: name one layer, at which all candidates are read.")
    spec = job.external.input_spec if job.external else None
    side = spec.size if spec and job.decodes_files else plan.dataset_info.image_size
    return Candidate(
        name=job.name,
        method=job.name,
        encoder=plan.request.encoder,
        tap=taps[0],
        is_reference=job.method.constants.get("kind") == "reference",
        to_pretrain=job.trains and not find_pretrained(plan, job),
        licence=licence_of(job),
        footprint=measure_footprint(encoder, taps[0], side),
    )


def licence_of(job: Job) -> str:
    """The licence of a job's weights as far as it is known, "yours" where they were made here, "-" otherwise."""
    checkpoint = job.external
    if job.trains or job.checkpoint or (checkpoint and checkpoint.kind == "file"):
        return "yours"
    return checkpoint.licence if checkpoint and checkpoint.licence and checkpoint.kind != "untrained" else "-"


def plans_of(request: Request, candidates: list[Candidate], limit: int | None) -> Iterator[tuple[Plan, Candidate, Job]]:
    """Each candidate's job in a plan that measures it on at most ``limit`` images per split."""
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.encoder, candidate.tap), []).append(candidate)
    found: dict[str, tuple[Plan, Candidate, Job]] = {}
    for (encoder, tap), members in groups.items():
        methods = tuple(candidate.method for candidate in members)
        plan = build_plan(narrowed(request, methods, encoder, taps=(tap,), limit=limit))
        jobs = {job.name: job for job in plan.jobs}
        found |= {candidate.name: (plan, candidate, jobs[candidate.method]) for candidate in members}
    yield from (found[candidate.name] for candidate in candidates)
