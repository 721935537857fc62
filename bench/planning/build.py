"""From a request to a plan: every name, setting and data set resolved, without torch and before any work.

A cell is one protocol applied to one encoder. Its key covers everything that could change the result, so a mistake is
refused, and a finished measurement is recognised, in a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from ..checkpoints.pretrained_files import find_pretrained
from ..checkpoints.resolve import is_checkpoint, named_encoder
from ..data import DatasetInfo, DatasetSource
from ..errors import UserError, did_you_mean
from ..plugins.discovery import FOLDERS, Plugin, find_plugins, plugin_named, protocol_needs_of
from ..plugins.settings import parse_assignments
from ..records.comparable import CEILING, FLOOR
from ..training.recipe import PRESETS, RECIPE_SETTINGS
from .jobs import checkpoint_jobs, deduplicated, incompatibility, jobs_of, variants_of, without_missing_taps
from .limit import is_limited, limited_info
from .plan import Job, Overrides, Plan, Request


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The plugins that a request names."""

    known: Mapping[str, Mapping[str, Plugin]]  # kind -> name -> plugin
    methods: tuple[Plugin, ...]
    checkpoints: tuple[str, ...]  # the words of --methods that name checkpoints
    protocols: tuple[Plugin, ...]
    dataset: Plugin
    pretrain_dataset: Plugin
    encoder: Plugin


def build_plan(request: Request) -> Plan:
    """Resolves every name, setting and data set. Raises UserError for any mistake, before any work."""
    selection = select_plugins(request)
    check_request(request, selection)
    plan = plan_without_jobs(request, selection, parse_overrides(request, selection))
    plan, unanswerable = without_unanswerable_protocols(plan)
    methods, left_out = split_by_compatibility(plan, selection)
    jobs, unreadable = without_missing_taps(build_jobs(plan, methods, selection), request)
    check_protocols_have_jobs(request, selection, jobs)
    jobs = deduplicated([*jobs, *reference_jobs(plan, methods, selection)])
    return replace(plan, jobs=jobs, left_out=unanswerable + left_out + unreadable)


def select_plugins(request: Request) -> Selection:
    """The plugins that the request names. Raises UserError for a name that is not known."""
    known = {kind: find_plugins(kind, request.plugin_files) for kind in FOLDERS}
    checkpoints = tuple(word for word in request.methods if is_checkpoint(word))
    names = tuple(word for word in request.methods if word not in checkpoints)
    only_checkpoints = bool(checkpoints) and not names
    return Selection(
        known=known,
        methods=() if only_checkpoints else plugins_named(names, known["method"], "--methods"),
        checkpoints=checkpoints,
        protocols=()
        if request.protocols is None
        else plugins_named(request.protocols, known["protocol"], "--protocol"),
        dataset=plugin_named(request.dataset.partition("/")[0], known["dataset"], "--dataset"),
        pretrain_dataset=plugin_named(
            (request.pretrain_dataset or request.dataset).partition("/")[0], known["dataset"], "--pretrain-dataset"
        ),
        encoder=plugin_named(request.encoder.partition("/")[0], known["encoder"], "--encoder"),
    )


def plugins_named(names: tuple[str, ...], known: Mapping[str, Plugin], option: str) -> tuple[Plugin, ...]:
    """The plugins of these names, each once; all of them for the single name "all"."""
    if not names:
        raise UserError(f"{option}: names nothing. Known: {', '.join(known)}.")
    return tuple(plugin_named(name, known, option) for name in (known if names == ("all",) else dict.fromkeys(names)))


def check_request(request: Request, selection: Selection) -> None:
    """Raises UserError for an option that is out of range or does not go with the others."""
    if request.preset not in PRESETS:
        raise UserError(f"--preset: {request.preset!r} is not known. {did_you_mean(request.preset, PRESETS)}")
    if "/" in request.encoder and "name" not in selection.encoder.settings:
        name = selection.encoder.name
        raise UserError(f"--encoder {request.encoder}: {name} has no variants; use --encoder {name}.")
    if request.encoder.endswith("/"):
        raise UserError(f"--encoder {request.encoder}: names no network; write for example {request.encoder}resnet18.")
    if request.taps == ():
        raise UserError("--taps: names nothing; for example --taps conv4,conv5.")
    check_variants(request, selection)
    if request.pretrain_data_dir and not request.pretrain_dataset:
        raise UserError("--pretrain-data-dir: name its data set with --pretrain-dataset.")
    if max(request.seeds) >= 2**31:
        raise UserError(f"--seeds: {max(request.seeds)} is too large; use numbers below 2147483648.")
    names = {method.name for method in selection.methods}
    if unused := request.checkpoints.keys() - names:
        raise UserError(
            f"--checkpoint {min(unused)}=…: this method is not among --methods. {did_you_mean(min(unused), names)}"
        )


def check_variants(request: Request, selection: Selection) -> None:
    """Raises UserError if ``--variant`` names one that no protocol compares for these methods."""
    labels = {
        label
        for protocol in selection.protocols
        for method in selection.methods
        for label in variants_of(protocol).get(method.name, {})
    }
    for label in request.variants:
        if label not in labels:
            raise UserError(
                f"--variant {label}: no protocol compares this variant of these methods. {did_you_mean(label, labels)}"
            )


def parse_overrides(request: Request, selection: Selection) -> Overrides:
    """The values that ``--set`` gives to settings of the plugins that run, and of the recipe."""
    named = map(named_encoder, selection.checkpoints)
    running = (
        *selection.methods,
        *selection.protocols,
        selection.dataset,
        selection.pretrain_dataset,
        selection.encoder,
        *(selection.known["encoder"][name] for name in named if name in selection.known["encoder"]),
    )
    settings = {plugin.name: plugin.settings for plugin in running} | {"recipe": RECIPE_SETTINGS}
    return parse_assignments(
        request.assignments, settings, {name for kind in selection.known.values() for name in kind}
    )


def plan_without_jobs(request: Request, selection: Selection, overrides: Overrides) -> Plan:
    """The plan's data sets and encoder with their effective settings."""
    path = request.dataset.partition("/")[2]
    source, info = open_dataset(selection.dataset, path, request.data_dir, request.image_size, overrides)
    pretrain_source, pretrain_info = source, info
    if request.pretrain_dataset:
        pretrain_source, pretrain_info = open_dataset(
            selection.pretrain_dataset,
            request.pretrain_dataset.partition("/")[2],
            request.pretrain_data_dir,
            info.image_size,
            overrides,
        )
    if request.limit is not None:
        if is_limited(info, request.limit):
            info = limited_info(info, request.limit)
        else:
            request = replace(request, limit=None)  # all images are used, as without the option
    encoder, variant = selection.encoder, request.encoder.partition("/")[2]
    encoder_settings = encoder.defaults | ({"name": variant} if variant else {}) | overrides.get(encoder.name, {})
    encoder_settings = encoder.without_later_defaults(encoder_settings)
    if request.taps == ("all",):
        request = replace(request, taps=all_taps(encoder, encoder_settings, info.image_size))
    return Plan(
        request=request,
        source=source,
        dataset_info=info,
        pretrain_source=pretrain_source,
        pretrain_info=pretrain_info,
        encoder=encoder,
        encoder_settings=encoder_settings,
        protocols=selection.protocols,
        overrides=overrides,
    )


def open_dataset(
    dataset: Plugin, path: str, data_dir: str | None, image_size: int | None, overrides: Overrides
) -> tuple[DatasetSource, DatasetInfo]:
    """A data set's source with its settings, and what is known of it. Raises UserError if it cannot be used.

    ``path`` follows the name and a slash in ``--dataset``: which of the plugin's data sets it is.
    """
    cls = dataset.load()
    settings = ({"path": path} if path else {}) | dict(overrides.get(dataset.name, {}))
    if path and "path" not in dataset.settings:
        raise UserError(
            f"--dataset {dataset.name}/{path}: {dataset.name} is one data set; use --dataset {dataset.name}."
        )
    if image_size is not None:
        settings["image_size"] = image_size
    if data_dir is not None:
        if "data_dir" not in {f.name for f in fields(cls)}:
            raise UserError(f"--data-dir {data_dir}: {dataset.name} takes no directory; did you mean --dataset folder?")
        settings["data_dir"] = data_dir
    source = cls(**settings)
    return source, source.check()


def without_unanswerable_protocols(plan: Plan) -> tuple[Plan, tuple[str, ...]]:
    """The plan without protocols that need more than the data provide, and why each is left out.

    Only ``--protocol all`` leaves protocols out. Raises UserError for any other that cannot be answered.
    """
    reasons = {
        protocol.name: f"{protocol.name} needs {', '.join(sorted(missing))}, which {plan.dataset_info.name} lacks; "
        "choose another --dataset."
        for protocol in plan.protocols
        if (missing := protocol_needs_of(protocol) - plan.source.provides)
    }
    if reasons and plan.request.protocols != ("all",):
        raise UserError(f"--protocol: {next(iter(reasons.values()))}")
    answerable = tuple(protocol for protocol in plan.protocols if protocol.name not in reasons)
    return replace(plan, protocols=answerable), tuple(reasons.values())


def all_taps(encoder: Plugin, settings: dict[str, Any], image_size: int) -> tuple[str, ...]:
    """All taps of an encoder. It is built on the meta device, so that no weights are drawn."""
    import torch

    with torch.device("meta"):
        return tuple(encoder.load()(image_size, **settings).taps)


def split_by_compatibility(plan: Plan, selection: Selection) -> tuple[list[Plugin], tuple[str, ...]]:
    """The methods to run, and why each other one is left out.

    Only ``--methods all`` leaves methods out, and only those that no other option names.
    """
    if plan.request.methods != ("all",):
        return list(selection.methods), ()
    named = {*plan.overrides, *plan.request.checkpoints}
    reasons = {
        method.name: reason
        for method in selection.methods
        if method.name not in named and (reason := incompatibility(plan, method, method.defaults))
    }
    return [method for method in selection.methods if method.name not in reasons], tuple(reasons.values())


def build_jobs(plan: Plan, methods: Iterable[Plugin], selection: Selection) -> tuple[Job, ...]:
    """The jobs of methods and checkpoints, for each seed that makes a difference."""
    jobs: list[Job] = []
    for method in methods:
        # Weights from a file do not depend on the seed.
        seeds = plan.request.seeds[:1] if method.name in plan.request.checkpoints else plan.request.seeds
        jobs += [job for seed in dict.fromkeys(seeds) for job in jobs_of(plan, method, seed)]
    return deduplicated([*jobs, *checkpoint_jobs(plan, selection.checkpoints, selection.known)])


def check_protocols_have_jobs(request: Request, selection: Selection, jobs: Iterable[Job]) -> None:
    """Raises UserError if a protocol that was named compares variants of methods that are not among these jobs."""
    used = {cell.protocol.name for job in jobs for cell in job.cells}
    idle = [protocol for protocol in selection.protocols if protocol.name not in used]
    if idle and request.protocols != ("all",):
        methods = list(variants_of(idle[0]))
        raise UserError(
            f"--protocol {idle[0].name}: compares settings of {', '.join(methods)}; use --methods {methods[0]}."
        )


def reference_jobs(plan: Plan, running: Iterable[Plugin], selection: Selection) -> list[Job]:
    """Floor and ceiling under the same request, as far as that needs no training; none unless they are requested.

    They are left out of protocols that train encoders.
    """
    named, known = {method.name for method in running}, selection.known["method"]
    if not (plan.request.references and named):
        return []
    plan = replace(plan, protocols=tuple(p for p in plan.protocols if not p.constants.get("trains_encoders")))
    jobs: list[Job] = []
    for name in (name for name in (FLOOR, CEILING) if plan.protocols and name in known.keys() - named):
        with suppress(UserError):  # the ceiling needs labels, which these data may lack
            for seed in dict.fromkeys(plan.request.seeds):
                jobs += [job for job in jobs_of(plan, known[name], seed) if is_cheap(job, plan.request)]
    return jobs


def is_cheap(job: Job, request: Request) -> bool:
    """Whether a job has its weights, or needs none."""
    return not job.trains or (not request.overwrite and find_pretrained(job.recipe_hash) is not None)
