"""What would be done: every name, setting and data set resolved, without torch and before any work.

A cell is one question about one encoder, and its key covers everything that could change the
answer; so a typo fails, and a finished run is recognised, in a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bench import plugins, records
from bench.data import Facts, Source
from bench.errors import UserError, did_you_mean
from bench.foreign.catalogue import Checkpoint
from bench.foreign.tokens import checkpoints, is_checkpoint
from bench.plugins import Plugin, Setting
from bench.recipe import PRESETS, Recipe, file_hash, fingerprint

Chosen = Mapping[str, dict[str, Any]]  # plugin -> setting -> value


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, as the command line spells it."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...] | None = ("linear",)  # None: only pretrain
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
    variants: tuple[str, ...] = ()  # of the protocols that compare some, only these; none: all
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
    variant: str  # which of the protocol's variants the encoder is, "" for an encoder as it was asked for
    key: str  # hex digest of everything that could change the numbers
    measured: bool  # the results hold it already


@dataclass(frozen=True, kw_only=True)
class Job:
    """One encoder and the questions asked of it."""

    method: Plugin
    settings: dict[str, Any]
    deviations: dict[str, Any]  # where the settings are not the paper's
    recipe: Recipe
    common: dict[str, Any]  # of the recipe, what a variant changes, as it is for the others
    recipe_hash: str
    checkpoint: Path | None
    trains: bool  # whether there is anything to pretrain
    cells: tuple[Cell, ...]
    foreign: Checkpoint | None = None  # weights that bring an encoder of their own

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells still to be measured."""
        return tuple(cell for cell in self.cells if not cell.measured)

    @property
    def needs(self) -> frozenset[str]:
        """What the data set must provide."""
        return needs_of(self.method, self.settings)


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
    bounds: frozenset[str] = frozenset()  # keys that the floor's and the ceiling's cells would have
    left_out: tuple[str, ...] = ()  # of all methods those that cannot be pretrained here, with the reason

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs with a cell still to be measured."""
        return tuple(job for job in self.jobs if job.missing)

    def around(self, foreign: Checkpoint | None) -> Plan:
        """The plan as it is for a checkpoint, which brings its own encoder."""
        if foreign is None or foreign.plugin is None:
            return self
        request = replace(self.request, encoder=foreign.encoder)
        return replace(self, request=request, encoder=foreign.plugin, encoder_settings=foreign.settings)


def plan(request: Request) -> Plan:
    """Resolves every name, setting and data set; raises UserError for whatever is wrong, before any work."""
    known = {kind: plugins.plugins(kind, request.plugin_files) for kind in plugins.FOLDERS}
    words = [word for word in request.methods if is_checkpoint(word)]
    names = tuple(word for word in request.methods if word not in words)
    methods = selected(names, known["method"], "--methods") if names or not words else []
    protocols = selected(request.protocols, known["protocol"], "--protocol") if request.protocols is not None else []
    dataset = plugins.named(request.dataset, known["dataset"], "--dataset")
    pretrain_dataset = plugins.named(
        request.pretrain_dataset or request.dataset, known["dataset"], "--pretrain-dataset"
    )
    encoder_name, _, network = request.encoder.partition("/")
    encoder = plugins.named(encoder_name, known["encoder"], "--encoder")
    if request.preset not in PRESETS:
        raise UserError(f"--preset: {request.preset!r} is not known. {did_you_mean(request.preset, PRESETS)}")
    if network and "name" not in encoder.settings:
        raise UserError(
            f"--encoder {request.encoder}: {encoder_name} has no variants; --encoder {encoder_name} is all."
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

    running = {plugin.name: plugin.settings for plugin in (*methods, *protocols, dataset, pretrain_dataset, encoder)}
    everything = {name for kind in known.values() for name in kind}
    chosen = plugins.settings_from(request.assignments, running | {"recipe": RECIPE_SETTINGS}, everything)

    source, facts = opened(dataset, request.data_dir, request.image_size, chosen)
    pretrain_source, pretrain_facts = source, facts
    if request.pretrain_dataset:
        pretrain_source, pretrain_facts = opened(pretrain_dataset, request.pretrain_data_dir, facts.image_size, chosen)
    encoder_settings = encoder.defaults | ({"name": network} if network else {}) | chosen.get(encoder.name, {})
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
        jobs=(),
    )
    left_out = []
    if request.methods == ("all",):
        # What is named in another option was asked for by name.
        free = [method for method in methods if method.name not in {*chosen, *request.checkpoints}]
        reasons = {method.name: unfit(planned, method, method.defaults) for method in free}
        left_out = [reason for reason in reasons.values() if reason]
        methods = [method for method in methods if not reasons.get(method.name)]
    pairs = [
        (method, seed)
        for method in methods
        # Weights from a file are what they are: another seed would not change them.
        for seed in dict.fromkeys(request.seeds[:1] if method.name in request.checkpoints else request.seeds)
    ]
    asked = [job for method, seed in pairs for job in jobs_of(planned, method, seed, protocols, chosen)]
    asked += foreign_jobs(planned, words, known, protocols, chosen)
    jobs = merged(asked)
    asked_by_name = request.protocols != ("all",)
    if asked_by_name and (
        idle := [
            protocol for protocol in protocols if not any(c.protocol == protocol for job in jobs for c in job.cells)
        ]
    ):
        raise UserError(
            f"--protocol {idle[0].name}: compares settings of {', '.join(variants(idle[0]))}; "
            f"--methods {next(iter(variants(idle[0])))} would be an answer."
        )
    rivals = {method.name for method in methods} if methods else {"random", "supervised"}
    limits = bounds(planned, rivals, known["method"], protocols, chosen)
    return replace(planned, jobs=jobs, bounds=limits, left_out=tuple(left_out))


RECIPE_SETTINGS = {
    f.name: Setting(f.name, str(f.type), f.default)
    for f in fields(Recipe)
    if f.name not in ("preset", "seed", "precision")
}


def selected(names: tuple[str, ...], known: Mapping[str, Plugin], flag: str) -> list[Plugin]:
    """The plugins of these names, each once, or all of them."""
    if not names:
        raise UserError(f"{flag}: names nothing. Known: {', '.join(known)}.")
    return [plugins.named(name, known, flag) for name in (known if names == ("all",) else dict.fromkeys(names))]


def every_tap(encoder: Plugin, settings: dict[str, Any], image_size: int) -> tuple[str, ...]:
    """The encoder's taps, which only building it tells; no weight is drawn."""
    import torch

    with torch.device("meta"):
        return encoder.load()(image_size, **settings).taps


def variants(protocol: Plugin) -> dict[str, dict[str, dict[str, Any]]]:
    """Method -> label -> settings that a protocol compares; none where it asks about encoders as they are."""
    return protocol.constants.get("variants") or {}


def jobs_of(planned: Plan, method: Plugin, seed: int, protocols: list[Plugin], chosen: Chosen) -> Iterator[Job]:
    """A method's encoder as it was asked for, if a protocol asks about it, and each variant that one compares."""
    plain = [protocol for protocol in protocols if not variants(protocol)]
    if plain or not protocols:
        yield job_of(planned, method, seed, plain, chosen)
    for protocol in protocols:
        for label, changes in variants(protocol).get(method.name, {}).items():
            if not planned.request.variants or label in planned.request.variants:
                yield job_of(planned, method, seed, [protocol], chosen, label, changes)


def foreign_jobs(
    planned: Plan, words: list[str], known: Mapping[str, Mapping[str, Plugin]], protocols: list[Plugin], chosen: Chosen
) -> Iterator[Job]:
    """A job for each checkpoint that was asked for, with the protocols that take any encoder as it is."""
    request = planned.request
    asked = Checkpoint(
        token=request.encoder,
        method=request.encoder,
        name=None,
        kind="file",
        encoder=request.encoder,
        plugin=planned.encoder,
        settings=planned.encoder_settings,
    )
    plain = [protocol for protocol in protocols if not variants(protocol)]
    if words and protocols and not plain:
        raise UserError(f"--methods {words[0]}: {protocols[0].name} compares settings of a method, not checkpoints.")
    for word in words:
        for found in checkpoints(word, known, asked, planned.facts.image_size):
            method = Plugin("method", found.method, Path(), None, "", "", {}, {"trains": False, "sees": found.sees})
            # Weights from elsewhere are what they are: another seed would not change them.
            for seed in request.seeds if found.kind == "untrained" else request.seeds[:1]:
                yield job_of(planned.around(found), method, seed, plain, chosen, foreign=found)


def merged(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Jobs about the same encoder made one, so that it is pretrained and read once."""
    found: dict[str, Job] = {}
    for job in jobs:
        first = found.get(job.recipe_hash)
        found[job.recipe_hash] = replace(first, cells=first.cells + job.cells) if first else job
    return tuple(found.values())


def job_of(
    planned: Plan,
    method: Plugin,
    seed: int,
    protocols: list[Plugin],
    chosen: Chosen,
    variant: str = "",
    changes: Mapping[str, Any] = {},
    foreign: Checkpoint | None = None,
) -> Job:
    """One encoder with its effective settings and its cells, each with a key over everything that could change it.

    ``changes`` are those of the variant, to the method's settings or, written ``recipe.batch_size``, to the recipe.
    """
    request, data = planned.request, planned.pretrain_facts
    short = {} if request.preset == "paper" else method.constants.get("short") or {}
    recipe_short, method_short = parted(short)
    recipe_changes, method_changes = parted(changes)
    settings = method.defaults | method_short | chosen.get(method.name, {}) | method_changes
    common = replace(
        Recipe(preset=request.preset, seed=seed, precision=request.precision),  # type: ignore[arg-type]
        **PRESETS[request.preset] | recipe_short | chosen.get("recipe", {}),
    )
    recipe = common.varied(recipe_changes)
    others = {key: value for key, value in asdict(common).items() if value != getattr(recipe, key)}
    checkpoint = Path(request.checkpoints[method.name]) if method.name in request.checkpoints else None
    trains = bool(method.constants.get("trains", True))
    if reason := unfit(planned, method, settings):
        raise UserError(reason)
    if trains and checkpoint is None and data.train_images < recipe.batch_size:
        raise UserError(
            f"{data.name}: {data.train_images} train images are fewer than a batch of {recipe.batch_size}; "
            + (
                f"leave {variant} out, naming the others by --variant."
                if "batch_size" in recipe_changes
                else f"--set recipe.batch_size={max(2, data.train_images // 2)} fits."
            )
        )

    shared = {
        "encoder": request.encoder,
        "encoder_settings": planned.encoder_settings,
        "image_size": planned.facts.image_size,
    }
    weights: dict[str, Any] = {"method": method.name, "settings": settings, "seed": seed} | shared
    if trains:
        weights |= {"recipe": asdict(recipe) | {"preset": None}, "data": data.identity}
    if checkpoint:
        weights = {"method": method.name, "file": hash_of(checkpoint)} | shared
    if foreign:
        sees = {"sees": foreign.sees, "wants": asdict(foreign.wants) if foreign.wants else None}
        weights = {"checkpoint": foreign.token} | foreign.identity(seed) | sees | shared
    code = [plugin.path for plugin in (method, planned.encoder) if plugin.module is None and plugin.path.name]
    code += own_code(planned.encoder, planned.encoder_settings)
    if code:
        weights["source"] = [hash_of(path) for path in code]  # it may change between two runs
    recipe_hash = fingerprint(weights)
    cells = []
    for protocol in protocols:
        asking = (
            protocol.defaults
            | (protocol.constants.get("presets") or {}).get(request.preset, {})
            | ({"taps": tuple(dict.fromkeys(request.taps))} if request.taps else {})
            | chosen.get(protocol.name, {})
        )
        source = hash_of(protocol.path) if protocol.module is None else None
        key = fingerprint([recipe_hash, planned.facts.identity, protocol.name, asking, request.precision, source])
        measured = not request.overwrite and records.find(request.results / "records", key) is not None
        cells.append(Cell(protocol=protocol, settings=asking, variant=variant, key=key, measured=measured))
    return Job(
        method=method,
        settings=settings,
        deviations={key: value for key, value in settings.items() if value != method.defaults.get(key)}
        | {f"recipe.{key}": getattr(recipe, key) for key in recipe_short | others},
        recipe=recipe,
        common=others,
        recipe_hash=recipe_hash,
        checkpoint=checkpoint,
        trains=trains and checkpoint is None,
        cells=tuple(cells),
        foreign=foreign,
    )


def parted(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the recipe, which are written ``recipe.key``, and those of the method."""
    prefix = "recipe."
    recipe = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
    return recipe, {key: value for key, value in settings.items() if not key.startswith(prefix)}


def needs_of(method: Plugin, settings: Mapping[str, Any]) -> frozenset[str]:
    """What a method with these settings needs of a data set beside images."""
    more = method.constants.get("needs_if") or {}
    under = {f"{name}={value}" for name, value in settings.items()}
    return frozenset(method.constants.get("needs") or ()) | {more[setting] for setting in more.keys() & under}


def unfit(planned: Plan, method: Plugin, settings: Mapping[str, Any]) -> str | None:
    """Why a method cannot have its encoder or learn from these data, in one line; None where it can."""
    name, sees, encoder = method.name, method.constants.get("sees"), planned.encoder
    if sees == "halves" and "width" not in planned.encoder_settings:
        return f"{name} halves its encoder's width, which {encoder.name} does not have; --encoder convnet has."
    if not method.constants.get("trains", True) or name in planned.request.checkpoints:
        return None
    if sees == "patches" and not encoder.constants.get("patchwise"):
        return (
            f"{name} shows its encoder some patches of a picture, which {encoder.name} cannot see; --encoder vit can."
        )
    if lacking := needs_of(method, settings) - planned.pretrain_source.provides:
        data, wanted = planned.pretrain_facts.name, ", ".join(sorted(lacking))
        return f"{name} needs {wanted}, which {data} does not provide; choose another --pretrain-dataset."
    return None


def opened(dataset: Plugin, data_dir: str | None, image_size: int | None, chosen: Chosen) -> tuple[Source, Facts]:
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


def own_code(encoder: Plugin, settings: dict[str, Any]) -> list[Path]:
    """The file that --encoder-from names, where it is one."""
    if encoder.name != "own":
        return []
    path = Path(str(settings["name"]).partition(":")[0].replace(".", "/") + ".py")
    return [path] if path.is_file() else []


def hash_of(checkpoint: Path) -> str:
    """SHA-256 of a checkpoint's bytes; raises UserError where there is no such file."""
    if not checkpoint.is_file():
        raise UserError(f"--checkpoint: {checkpoint} does not exist; give the path of a .safetensors or torch file.")
    return file_hash(checkpoint)


def bounds(
    planned: Plan, rivals: set[str], known: Mapping[str, Plugin], protocols: list[Plugin], chosen: Chosen
) -> frozenset[str]:
    """Keys that the floor's and the ceiling's cells would have under the same request, where they are not in it."""
    keys: set[str] = set()
    for name in {"random", "supervised"} & known.keys() - rivals:
        try:
            for seed in planned.request.seeds:
                jobs = jobs_of(planned, known[name], seed, protocols, chosen)
                keys |= {cell.key for job in jobs for cell in job.cells}
        except UserError:
            continue  # these data carry no labels to be supervised by
    return frozenset(keys)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a job would cost."""

    source: str  # "untrained", "from file", "cached", "bundled" or "to pretrain"
    minutes: str  # of pretraining, "" where nothing is known of this encoder's speed
    disk: int  # bytes, at most


def estimate(planned: Plan, job: Job) -> Estimate:
    """Where a job's encoder would come from, and what it would cost at the speed of earlier records."""
    from bench.checkpoints import found, manifest

    if job.foreign and job.foreign.kind != "untrained":
        source = "from file" if job.foreign.kind == "file" else "here" if job.foreign.there else "to download"
    elif job.checkpoint:
        source = "from file"
    elif not job.trains:
        source = "untrained"
    else:
        known = found(job.recipe_hash)
        source = known[0] if known else "to pretrain"
    encoder = planned.request.encoder
    known_costs = [facts["cost"] for facts in manifest().values() if facts["encoder"] == encoder]
    for record in records.read_all(planned.request.results / "records")[0]:
        if record["cell"]["encoder"] == encoder and record["cost"].get("pretrain_seconds"):
            known_costs.append(record["cost"])
    speeds = [cost["pretrain_views"] / cost["pretrain_seconds"] for cost in known_costs]
    minutes = f"{job.recipe.views / sorted(speeds)[len(speeds) // 2] / 60:.1f}" if speeds else ""
    numbers = sum(cell.settings.get("features", 512) * len(cell.settings["taps"]) for cell in job.missing)
    images = planned.facts.train_images + planned.facts.test_images
    return Estimate(source=source, minutes=minutes, disk=4 * numbers * images)
