"""What was asked for, and what will be done about it: jobs, one encoder each, and the cells to measure on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints.registry import Checkpoint
from ..data import Dataset, DatasetInfo, DatasetSource
from ..plugins.discovery import Plugin
from ..training.recipe import Recipe

Overrides = Mapping[str, dict[str, Any]]  # plugin -> setting -> value


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
    unvaried_recipe: dict[str, Any]  # of the recipe, what a variant changes, as it is for the others
    recipe_hash: str
    checkpoint: Path | None
    trains: bool  # whether there is anything to pretrain
    cells: tuple[Cell, ...]
    foreign: Checkpoint | None = None  # weights that bring an encoder of their own

    @property
    def name(self) -> str:
        """What ``--methods`` calls it."""
        return self.foreign.token if self.foreign else self.method.name

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
    source: DatasetSource
    facts: DatasetInfo
    pretrain_source: DatasetSource
    pretrain_facts: DatasetInfo
    encoder: Plugin
    encoder_settings: dict[str, Any]
    protocols: tuple[Plugin, ...]
    overrides: Overrides  # the settings that the request assigns
    jobs: tuple[Job, ...] = ()
    reference_keys: frozenset[str] = frozenset()  # keys that the floor's and the ceiling's cells would have
    left_out: tuple[str, ...] = ()  # of all methods those that cannot be pretrained here, with the reason

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs with a cell still to be measured."""
        return tuple(job for job in self.jobs if job.missing)

    @property
    def batch_sizes(self) -> set[int]:
        """The batch sizes of all jobs, in images."""
        return {job.recipe.batch_size for job in self.jobs}

    def with_encoder_of(self, foreign: Checkpoint | None) -> Plan:
        """The plan as it is for a checkpoint, which brings its own encoder."""
        if foreign is None or foreign.plugin is None:
            return self
        request = replace(self.request, encoder=foreign.encoder)
        return replace(self, request=request, encoder=foreign.plugin, encoder_settings=foreign.settings)


def needs_of(method: Plugin, settings: Mapping[str, Any]) -> frozenset[str]:
    """What a method with these settings needs of a data set beside images."""
    more = method.constants.get("needs_if") or {}
    under = {f"{name}={value}" for name, value in settings.items()}
    return frozenset(method.constants.get("needs") or ()) | {more[setting] for setting in more.keys() & under}


class Data:
    """The data sets of a plan, each read when it is first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loaded: dict[tuple[str, frozenset[str]], Dataset] = {}

    def probing(self, needs: frozenset[str] = frozenset()) -> Dataset:
        """What the protocols see."""
        return self._load(self.plan.source, self.plan.facts, needs)

    def pretraining(self, needs: frozenset[str]) -> Dataset:
        """What the method sees."""
        return self._load(self.plan.pretrain_source, self.plan.pretrain_facts, needs)

    def _load(self, source: DatasetSource, facts: DatasetInfo, needs: frozenset[str]) -> Dataset:
        needs -= {"labels"}  # which every data set brings
        key = (facts.identity, needs)
        if key not in self.loaded:
            self.loaded[key] = source.load(needs)
        return self.loaded[key]
