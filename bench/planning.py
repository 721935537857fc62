"""What would be done: every name, setting and data set resolved, without torch and before any work.

A cell is one question about one encoder, and its key covers everything that could change the
answer; so a typo fails, and a finished run is recognised, in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bench import plugins
from bench.data import Facts, Source
from bench.errors import UserError, did_you_mean
from bench.plugins import Plugin, Setting
from bench.recipe import PRESETS, Recipe, fingerprint


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, as the command line spells it."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...] = ("linear",)
    dataset: str = "synthetic"
    data_dir: str | None = None
    pretrain_dataset: str | None = None
    pretrain_data_dir: str | None = None
    image_size: int | None = None
    encoder: str = "convnet"
    taps: tuple[str, ...] | None = None
    preset: str = "small"
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"
    precision: str = "auto"
    assignments: tuple[str, ...] = ()  # "plugin.key=value"
    checkpoints: Mapping[str, str] = field(default_factory=dict)  # method -> file
    plugin_files: tuple[str, ...] = ()
    results: Path = Path("results")
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One question about one encoder."""

    protocol: Plugin
    settings: dict[str, Any]
    key: str  # hex digest of everything that could change the numbers
    measured: bool  # the results hold it already


@dataclass(frozen=True, kw_only=True)
class Job:
    """One encoder and the questions asked of it."""

    method: Plugin
    settings: dict[str, Any]
    deviations: dict[str, Any]  # where a run shorter than the paper's changes the paper's settings
    recipe: Recipe
    recipe_hash: str
    checkpoint: Path | None
    cells: tuple[Cell, ...]

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells still to be measured."""
        return tuple(cell for cell in self.cells if not cell.measured)

    @property
    def trains(self) -> bool:
        """Whether there is anything to pretrain."""
        return bool(self.method.constants.get("trains", True)) and self.checkpoint is None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that will be done, before anything is done."""

    request: Request
    source: Source
    facts: Facts
    pretrain_source: Source
    pretrain_facts: Facts
    encoder: Plugin
    encoder_settings: dict[str, Any]
    jobs: tuple[Job, ...]

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs with a cell still to be measured."""
        return tuple(job for job in self.jobs if job.missing)


def plan(request: Request) -> Plan:
    """Resolves every name, setting and data set; raises UserError for whatever is wrong, before any work."""
    known = {kind: plugins.plugins(kind, request.plugin_files) for kind in plugins.FOLDERS}
    names = tuple(known["method"]) if request.methods == ("all",) else request.methods
    methods = [plugins.named(name, known["method"], "--methods") for name in dict.fromkeys(names)]
    asked = tuple(known["protocol"]) if request.protocols == ("all",) else request.protocols
    protocols = [plugins.named(name, known["protocol"], "--protocol") for name in dict.fromkeys(asked)]
    dataset = plugins.named(request.dataset, known["dataset"], "--dataset")
    pretrain_dataset = plugins.named(request.pretrain_dataset or request.dataset, known["dataset"], "--pretrain-dataset")
    encoder_name, _, variant = request.encoder.partition("/")
    encoder = plugins.named(encoder_name, known["encoder"], "--encoder")
    if request.preset not in PRESETS:
        raise UserError(f"--preset: {request.preset!r} is not known. {did_you_mean(request.preset, PRESETS)}")

    recipe_settings = {f.name: Setting(f.name, str(f.type), f.default) for f in fields(Recipe) if f.name not in ("preset", "seed", "precision")}
    running = {p.name: p.settings for p in (*methods, *protocols, dataset, pretrain_dataset, encoder)} | {"recipe": recipe_settings}
    everything = {name for kind in known.values() for name in kind}
    chosen = plugins.settings_from(list(request.assignments), running, everything)

    source, facts = opened(dataset, request.data_dir, request.image_size, chosen)
    pretrain_source, pretrain_facts = source, facts
    if request.pretrain_dataset:
        pretrain_source, pretrain_facts = opened(pretrain_dataset, request.pretrain_data_dir, facts.image_size, chosen)
        if pretrain_facts.image_size != facts.image_size:
            raise UserError(f"--pretrain-dataset: its images are {pretrain_facts.image_size} pixels wide, those of --dataset {facts.image_size}; give one --image-size.")
    encoder_settings = encoder.defaults | ({"name": variant} if variant else {}) | chosen.get(encoder.name, {})
    for name in request.checkpoints:
        if name not in {m.name for m in methods}:
            raise UserError(f"--checkpoint {name}=…: {name!r} is not among --methods. {did_you_mean(name, [m.name for m in methods])}")

    shared = {"encoder": request.encoder, "encoder_settings": encoder_settings, "image_size": facts.image_size}
    jobs = []
    for method in methods:
        short = {} if request.preset == "paper" else dict(method.constants.get("short") or {})
        recipe_short = {key.removeprefix("recipe."): short.pop(key) for key in list(short) if key.startswith("recipe.")}
        settings = method.defaults | short | chosen.get(method.name, {})
        deviations = {k: settings[k] for k in short if settings[k] != method.defaults[k]} | {f"recipe.{k}": v for k, v in recipe_short.items()}
        checkpoint = Path(request.checkpoints[method.name]) if method.name in request.checkpoints else None
        check_needs(method, pretrain_source, checkpoint)
        for seed in request.seeds:
            recipe = replace(
                Recipe(preset=request.preset, seed=seed, precision=request.precision),  # type: ignore[arg-type]
                **PRESETS[request.preset] | recipe_short | chosen.get("recipe", {}),
            )
            trains = bool(method.constants.get("trains", True))
            if trains and checkpoint is None and pretrain_facts.train_images < recipe.batch_size:
                raise UserError(f"{pretrain_facts.name}: {pretrain_facts.train_images} train images are fewer than a batch of {recipe.batch_size}; --set recipe.batch_size={max(2, pretrain_facts.train_images // 2)} fits.")
            facts_of_weights: dict[str, Any] = {"method": method.name, "settings": settings, "seed": seed} | shared
            if trains:
                facts_of_weights |= {"recipe": asdict(recipe) | {"preset": None}, "data": pretrain_facts.identity}
            if checkpoint:
                facts_of_weights = {"file": hash_of(checkpoint)} | shared
            recipe_hash = fingerprint(facts_of_weights)
            cells = []
            for protocol in protocols:
                asking = protocol.defaults | ({"taps": request.taps} if request.taps else {}) | chosen.get(protocol.name, {})
                key = fingerprint([recipe_hash, facts.identity, protocol.name, asking, request.precision])
                cells.append(Cell(protocol=protocol, settings=asking, key=key, measured=not request.overwrite and is_measured(request.results, key)))
            jobs.append(Job(method=method, settings=settings, deviations=deviations, recipe=recipe, recipe_hash=recipe_hash, checkpoint=checkpoint, cells=tuple(cells)))
    return Plan(
        request=request, source=source, facts=facts, pretrain_source=pretrain_source, pretrain_facts=pretrain_facts,
        encoder=encoder, encoder_settings=encoder_settings, jobs=tuple(jobs),
    )


def opened(dataset: Plugin, data_dir: str | None, image_size: int | None, chosen: Mapping[str, dict[str, Any]]) -> tuple[Source, Facts]:
    """A data set's source with its settings, and its facts; raises UserError where it cannot be used."""
    cls = dataset.load()
    settings = dict(chosen.get(dataset.name, {}))
    if image_size is not None:
        settings["image_size"] = image_size
    if data_dir is not None:
        if "data_dir" not in {f.name for f in fields(cls)}:
            raise UserError(f"--data-dir {data_dir}: {dataset.name} takes no directory; did you mean --dataset folder?")
        settings["data_dir"] = data_dir
    source = cls(**settings)
    return source, source.check()


def check_needs(method: Plugin, source: Source, checkpoint: Path | None) -> None:
    """Raises UserError where the data lack what the method learns from."""
    lacking = set(method.constants.get("needs") or ()) - source.provides
    if lacking and checkpoint is None:
        name = type(source).__name__.lower()
        raise UserError(f"{method.name} needs {', '.join(sorted(lacking))}, which {name} does not provide; choose another --pretrain-dataset.")


def hash_of(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's bytes; raises UserError where there is no such file."""
    import hashlib

    if not checkpoint.is_file():
        raise UserError(f"--checkpoint: {checkpoint} does not exist; give the path of a .safetensors or torch file.")
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_measured(results: Path, key: str) -> bool:
    """Whether the results hold a good record under that key."""
    from bench import records

    return records.find(results / "records", key) is not None


def bounds(planned: Plan) -> set[str]:
    """Keys that the floor's and the ceiling's cells would have under the same request."""
    keys: set[str] = set()
    for name in ("random", "supervised"):
        try:
            twin = plan(replace(planned.request, methods=(*planned.request.methods, name)))
        except UserError:
            continue  # these data carry no labels to be supervised by
        keys |= {cell.key for job in twin.jobs if job.method.name == name for cell in job.cells}
    return keys


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job would cost."""

    source: str  # "untrained", "from file", "cached", "bundled" or "to pretrain"
    minutes: str  # of pretraining, "" where nothing is known of this encoder's speed
    disk: int  # bytes, at most


def estimate(planned: Plan, job: Job) -> Estimate:
    """Where a job's encoder would come from, and what it would cost at the speed of earlier records."""
    from bench import records
    from bench.checkpoints import found

    if job.checkpoint:
        source = "from file"
    elif not job.trains:
        source = "untrained"
    else:
        known = found(job.recipe_hash)
        source = known[0] if known else "to pretrain"
    speeds = [
        record["cost"]["pretrain_views"] / record["cost"]["pretrain_seconds"]
        for record in records.read_all(planned.request.results / "records")[0]
        if record["cell"]["encoder"] == planned.request.encoder and record["cost"].get("pretrain_seconds")
    ]
    minutes = f"{job.recipe.views / sorted(speeds)[len(speeds) // 2] / 60:.1f}" if speeds else ""
    numbers = sum(cell.settings.get("features", 2048) * len(cell.settings["taps"]) for cell in job.missing)
    images = planned.facts.train_images + planned.facts.test_images
    return Estimate(source=source, minutes=minutes, disk=4 * numbers * images)
