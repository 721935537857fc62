"""The data classes of planning: a request, and a plan made of jobs (one encoder each) and cells (one result each)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints.registry import Checkpoint
from ..data import Dataset, DatasetInfo, DatasetSource
from ..plugins.discovery import Plugin, needs_of, protocol_needs_of
from ..storage.hashing import fingerprint
from ..training.recipe import Recipe
from .limit import limited_dataset

MAX_WORDS = 80  # letters of the settings in the name of a file

Overrides = Mapping[str, dict[str, Any]]  # plugin -> setting -> value


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for: the options of the command line."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...] | None = ("linear",)  # None: pretrain only
    dataset: str = "synthetic"
    data_dir: str | None = None
    pretrain_dataset: str | None = None
    pretrain_data_dir: str | None = None
    image_size: int | None = None
    limit: int | None = None  # images of each split that protocols use; None: all
    encoder: str = "convnet"
    taps: tuple[str, ...] | None = None
    preset: str = "small"
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"
    precision: str = "auto"
    variants: tuple[str, ...] = ()  # labels of the variants to run; empty: all
    assignments: tuple[str, ...] = ()  # "plugin.key=value"
    checkpoints: Mapping[str, str] = field(default_factory=dict)  # method -> file
    plugin_files: tuple[str, ...] = ()
    results: Path = Path("results")
    references: bool = False  # whether floor and ceiling are measured too, where that needs no training
    overwrite: bool = False
    debug: bool = False  # whether errors are raised where they occur, in place of a failed record

    def unusual_words(self, *named: str) -> tuple[str, ...]:
        """Words for the name of a file: what was asked for in place of a default, except the fields ``named``.

        Many or long words become a hash, since the names of files have limits.
        """
        fields = ("dataset", "pretrain_dataset", "image_size", "limit", "encoder", "preset", "precision")
        default = Request(methods=())
        words = [
            str(getattr(self, name))
            for name in fields
            if name not in named and getattr(self, name) != getattr(default, name)
        ]
        words += [f"s{seed}" for seed in self.seeds if "seeds" not in named and self.seeds != default.seeds]
        words += [*sorted(self.assignments), *(f"{of}={file}" for of, file in sorted(self.checkpoints.items()))]
        return tuple(words) if len("-".join(words)) <= MAX_WORDS else (fingerprint(words)[:8],)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One protocol applied to one encoder: what one record holds."""

    protocol: Plugin
    settings: dict[str, Any]
    variant: str  # label of the protocol's variant that the encoder is; "" for an encoder as requested
    key: str  # hex digest of everything that could change the numbers
    measured: bool  # the results folder has its record already


@dataclass(frozen=True, kw_only=True)
class Job:
    """One encoder and the protocols to apply to it."""

    method: Plugin
    settings: dict[str, Any]
    deviations: dict[str, Any]  # settings that are not the paper's
    recipe: Recipe
    unvaried_recipe: dict[str, Any]  # values, before the variant's changes, of the recipe fields that it changes
    recipe_hash: str
    checkpoint: Path | None  # file that --checkpoint gives
    trains: bool  # whether there is anything to pretrain
    cells: tuple[Cell, ...]
    encoder_code: dict[str, str] = field(default_factory=dict)  # identifies the code of the encoder, if not as released
    external: Checkpoint | None = None  # a checkpoint with an encoder of its own, in place of a method
    decodes_files: bool = False  # pictures are read from their files as the external checkpoint expects

    @property
    def name(self) -> str:
        """Its word in ``--methods``."""
        return self.external.token if self.external else self.method.name

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells still to be measured."""
        return tuple(cell for cell in self.cells if not cell.measured)

    @property
    def needs(self) -> frozenset[str]:
        """What the data set must provide in addition to images."""
        return needs_of(self.method, self.settings)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All work of a request, known before any of it is done."""

    request: Request
    source: DatasetSource
    dataset_info: DatasetInfo
    pretrain_source: DatasetSource
    pretrain_info: DatasetInfo
    encoder: Plugin
    encoder_settings: dict[str, Any]
    protocols: tuple[Plugin, ...]
    overrides: Overrides  # settings that --set assigns
    jobs: tuple[Job, ...] = ()
    left_out: tuple[str, ...] = ()  # for each method of `--methods all` that cannot be pretrained here, the reason

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs with a cell still to be measured."""
        return tuple(job for job in self.jobs if job.missing)

    @property
    def protocol_needs(self) -> frozenset[str]:
        """What the protocols need of the data set in addition to images."""
        return frozenset(need for protocol in self.protocols for need in protocol_needs_of(protocol))

    def data_identity(self, needs: frozenset[str]) -> str:
        """The identity of the data that protocols use, with that of the targets named in ``needs``.

        Raises UserError if such a target cannot be used.
        """
        targets, pictures = self.source.target_identity(needs), self.dataset_info.identity
        return fingerprint({"data": pictures, "targets": targets}) if targets else pictures

    @property
    def batch_sizes(self) -> set[int]:
        """The batch sizes of all jobs, in images."""
        return {job.recipe.batch_size for job in self.jobs}

    def title_of(self, job: Job) -> str:
        """A job's name for messages, with its variant and, if the plan has several seeds, its seed."""
        variants = {cell.variant for cell in job.cells}
        variant = next(iter(variants)) if len(variants) == 1 else ""
        several_seeds = len({one.recipe.seed for one in self.jobs}) > 1
        return job.name + f" ({variant})" * bool(variant) + f", seed {job.recipe.seed}" * several_seeds

    def with_encoder_of(self, checkpoint: Checkpoint | None) -> Plan:
        """The same plan with the checkpoint's encoder, or this plan if the checkpoint has no encoder of its own."""
        if checkpoint is None or checkpoint.plugin is None:
            return self
        request = replace(self.request, encoder=checkpoint.encoder)
        return replace(self, request=request, encoder=checkpoint.plugin, encoder_settings=checkpoint.settings)


class PlannedDatasets:
    """The data sets of a plan. Each is read on first use and then kept."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loaded: dict[tuple[str, frozenset[str]], Dataset] = {}

    def probing_dataset(self, needs: frozenset[str] = frozenset()) -> Dataset:
        """The data set that protocols use, with what ``needs`` names."""
        return self._load(self.plan.source, self.plan.dataset_info, needs, self.plan.request.limit)

    def dataset_of(self, job: Job) -> Dataset:
        """The data set that protocols use; pictures read from files have the size that the job's checkpoint expects."""
        needs = self.plan.protocol_needs
        if not (job.decodes_files and job.external and job.external.input_spec):
            return self.probing_dataset(needs)
        key = (fingerprint(asdict(job.external.input_spec)), needs)
        if key not in self.loaded:
            dataset, limit = self.plan.source.load_for(job.external.input_spec, needs), self.plan.request.limit
            self.loaded[key] = dataset if limit is None else limited_dataset(dataset, limit)
        return self.loaded[key]

    def pretraining_dataset(self, needs: frozenset[str]) -> Dataset:
        """The data set that methods are pretrained on, with what ``needs`` names."""
        source = self.plan.pretrain_source
        return source.for_pretraining(self._load(source, self.plan.pretrain_info, needs))

    def _load(
        self, source: DatasetSource, info: DatasetInfo, needs: frozenset[str], limit: int | None = None
    ) -> Dataset:
        needs -= {"labels"}  # every data set has them
        key = (info.identity, needs)
        if key not in self.loaded:
            dataset = source.load(needs)
            self.loaded[key] = dataset if limit is None else limited_dataset(dataset, limit)
        return self.loaded[key]
