"""What would be done: every name, setting and data set resolved, without torch and before any work.

A cell is one question about one encoder, and its key covers everything that could change the
answer; so a typo fails, and a finished run is recognised, in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ..checkpoints.resolve import is_checkpoint
from ..data import DatasetInfo, DatasetSource
from ..errors import UserError, did_you_mean
from ..plugins import discovery as plugins
from ..plugins.discovery import Plugin
from ..plugins.settings import Setting, settings_from
from ..training.recipe import PRESETS, Recipe
from .jobs import foreign_jobs, jobs_of, merged, unfit, variants
from .plan import Overrides, Plan, Request

RECIPE_SETTINGS = {
    f.name: Setting(f.name, str(f.type), f.default)
    for f in fields(Recipe)
    if f.name not in ("preset", "seed", "precision")
}


def plan(request: Request) -> Plan:
    """Resolves every name, setting and data set; raises UserError for whatever is wrong, before any work."""
    known = {kind: plugins.plugins(kind, request.plugin_files) for kind in plugins.FOLDERS}
    words = [word for word in request.methods if is_checkpoint(word)]
    names = tuple(word for word in request.methods if word not in words)
    methods = selected(names, known["method"], "--methods") if names or not words else []
    protocols = selected(request.protocols, known["protocol"], "--protocol") if request.protocols is not None else []
    dataset = plugins.named(request.dataset, known["dataset"], "--dataset")
    pretrain_name = request.pretrain_dataset or request.dataset
    pretrain_dataset = plugins.named(pretrain_name, known["dataset"], "--pretrain-dataset")
    encoder_name, _, network = request.encoder.partition("/")
    encoder = plugins.named(encoder_name, known["encoder"], "--encoder")
    check(request, methods, protocols, encoder)

    running = {plugin.name: plugin.settings for plugin in (*methods, *protocols, dataset, pretrain_dataset, encoder)}
    everything = {name for kind in known.values() for name in kind}
    overrides = settings_from(request.assignments, running | {"recipe": RECIPE_SETTINGS}, everything)
    source, facts = opened(dataset, request.data_dir, request.image_size, overrides)
    pretrain_source, pretrain_facts = source, facts
    if request.pretrain_dataset:
        pretrain_source, pretrain_facts = opened(
            pretrain_dataset, request.pretrain_data_dir, facts.image_size, overrides
        )
    encoder_settings = encoder.defaults | ({"name": network} if network else {}) | overrides.get(encoder.name, {})
    if request.taps == ("all",):
        request = replace(request, taps=every_tap(encoder, encoder_settings, facts.image_size))
    planned = Plan(
        request=request,
        source=source,
        facts=facts,
        pretrain_source=pretrain_source,
        pretrain_facts=pretrain_facts,
        encoder=encoder,
        encoder_settings=encoder_settings,
        protocols=tuple(protocols),
        overrides=overrides,
    )

    reasons: dict[str, str] = {}
    if request.methods == ("all",):
        # What is named in another option was asked for by name.
        free = [method for method in methods if method.name not in {*overrides, *request.checkpoints}]
        reasons = {m.name: reason for m in free if (reason := unfit(planned, m, m.defaults))}
        methods = [method for method in methods if method.name not in reasons]
    asked = []
    for method in methods:
        # Weights from a file are what they are: another seed would not change them.
        seeds = request.seeds[:1] if method.name in request.checkpoints else request.seeds
        asked += [job for seed in dict.fromkeys(seeds) for job in jobs_of(planned, method, seed)]
    jobs = merged([*asked, *foreign_jobs(planned, words, known)])
    answering = {cell.protocol.name for job in jobs for cell in job.cells}
    idle = [protocol for protocol in protocols if protocol.name not in answering]
    if idle and request.protocols != ("all",):
        raise UserError(
            f"--protocol {idle[0].name}: compares settings of {', '.join(variants(idle[0]))}; "
            f"--methods {next(iter(variants(idle[0])))} would be an answer."
        )
    rivals = {method.name for method in methods} if methods else {"random", "supervised"}
    keys = reference_keys(planned, rivals, known["method"])
    return replace(planned, jobs=jobs, reference_keys=keys, left_out=tuple(reasons.values()))


def selected(names: tuple[str, ...], known: Mapping[str, Plugin], flag: str) -> list[Plugin]:
    """The plugins of these names, each once, or all of them."""
    if not names:
        raise UserError(f"{flag}: names nothing. Known: {', '.join(known)}.")
    return [plugins.named(name, known, flag) for name in (known if names == ("all",) else dict.fromkeys(names))]


def check(request: Request, methods: Sequence[Plugin], protocols: Sequence[Plugin], encoder: Plugin) -> None:
    """Raises UserError for an option that does not go with the others."""
    if request.preset not in PRESETS:
        raise UserError(f"--preset: {request.preset!r} is not known. {did_you_mean(request.preset, PRESETS)}")
    if request.encoder.partition("/")[2] and "name" not in encoder.settings:
        raise UserError(
            f"--encoder {request.encoder}: {encoder.name} has no variants; --encoder {encoder.name} is all."
        )
    if request.taps == ():
        raise UserError("--taps: names nothing; for example --taps conv4,conv5.")
    labels = [label for asked in protocols for method in methods for label in variants(asked).get(method.name, {})]
    if unknown := [label for label in request.variants if label not in labels]:
        raise UserError(
            f"--variant {unknown[0]}: not among what is compared of these methods. {did_you_mean(unknown[0], labels)}"
        )
    if request.pretrain_data_dir and not request.pretrain_dataset:
        raise UserError("--pretrain-data-dir: of which data set? Name it with --pretrain-dataset.")
    if max(request.seeds) >= 2**31:
        raise UserError(f"--seeds: {max(request.seeds)} is too large; take numbers below 2147483648.")
    if unused := set(request.checkpoints) - {method.name for method in methods}:
        raise UserError(
            f"--checkpoint {min(unused)}=…: that method does not run. "
            f"{did_you_mean(min(unused), (method.name for method in methods))}"
        )


def opened(
    dataset: Plugin, data_dir: str | None, image_size: int | None, overrides: Overrides
) -> tuple[DatasetSource, DatasetInfo]:
    """A data set's source with its settings, and its facts; raises UserError where it cannot be used."""
    cls = dataset.load()
    settings = dict(overrides.get(dataset.name, {}))
    if image_size is not None:
        settings["image_size"] = image_size
    if data_dir is not None:
        if "data_dir" not in {f.name for f in fields(cls)}:
            raise UserError(f"--data-dir {data_dir}: {dataset.name} takes no directory; did you mean --dataset folder?")
        settings["data_dir"] = data_dir
    source = cls(**settings)
    return source, source.check()


def every_tap(encoder: Plugin, settings: dict[str, Any], image_size: int) -> tuple[str, ...]:
    """The encoder's taps, which only building it tells; no weight is drawn."""
    import torch

    with torch.device("meta"):
        return encoder.load()(image_size, **settings).taps


def reference_keys(planned: Plan, rivals: set[str], known: Mapping[str, Plugin]) -> frozenset[str]:
    """Keys that the floor's and the ceiling's cells would have under the same request, where they are not in it."""
    keys: set[str] = set()
    for name in {"random", "supervised"} & known.keys() - rivals:
        try:
            for seed in planned.request.seeds:
                keys |= {cell.key for job in jobs_of(planned, known[name], seed) for cell in job.cells}
        except UserError:
            continue  # these data carry no labels to be supervised by
    return frozenset(keys)
