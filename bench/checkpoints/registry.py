"""Checkpoints as data: those that are registered, and what is known of any checkpoint before its file is read.

A registered checkpoint is a table in ``methods/NAME.toml``, next to the method's file ``methods/NAME.py``.
``entries.py`` lists what the table may say.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..images.input_spec import CHANNELS, InputSpec
from ..plugins.discovery import Plugin
from ..storage.cache import cache_folder
from .entries import check_entry
from .location import content_hash

Kind = Literal["url", "file", "hub", "timm", "torchvision", "untrained"]


class CheckpointUnavailable(Exception):
    """Weights that cannot be loaded for a reason outside the user's control, such as a failed download."""


@dataclass(frozen=True)
class ModelZoo:
    """A published collection of checkpoints whose URLs have the same beginning."""

    base: str
    licence: str
    source: str


MODEL_ZOOS = {
    "vissl": ModelZoo(
        "https://dl.fbaipublicfiles.com/vissl/model_zoo/",
        "MIT",
        "https://github.com/facebookresearch/vissl/blob/main/MODEL_ZOO.md",
    ),
    "mmselfsup": ModelZoo(
        "https://download.openmmlab.com/mmselfsup/",
        "Apache-2.0",
        "https://mmselfsup.readthedocs.io/en/latest/model_zoo.html",
    ),
    "lightly": ModelZoo(
        "https://lightly-ssl-checkpoints.s3.amazonaws.com/imagenet_",
        "MIT",
        "https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html",
    ),
}
"""By name. The url "vissl:x" stands for the base of vissl followed by x."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights that were trained elsewhere, and the encoder that they belong to."""

    token: str  # the word of --methods that names it
    method: str  # in records and tables: the method's name if registered, else the token
    name: str | None  # NAME of METHOD@NAME; None if not registered
    kind: Kind
    url: str = ""
    path: Path | None = None  # of a local file
    part: str = ""  # of the file, if several hold the encoder or if one was named: a dictionary in it or a prefix
    sha256: str = ""
    encoder: str  # as in --encoder
    plugin: Plugin | None = None  # the encoder's
    settings: dict[str, Any] = field(default_factory=dict)  # the encoder's
    input_spec: InputSpec | None = None  # None: the data set's images unchanged
    input_mode: str = "colour"  # as the method that trained it declares it
    made_by: str = ""  # name of the method, if sslbench wrote the file
    licence: str = ""
    source: str = ""
    published: dict[str, dict[str, float]] = field(default_factory=dict)  # protocol -> tap -> fraction
    reading: str | dict[str, str] = ""  # how its published numbers pool, for all protocols or each; "": not known

    def pooling_for(self, protocol: str) -> str:
        """How the checkpoint's features are pooled by default; "" if the protocol's own default holds."""
        return self.reading if isinstance(self.reading, str) else self.reading.get(protocol, "")

    @property
    def file(self) -> Path | None:
        """Path of the weights, downloaded or not; None if a library keeps them in its own cache."""
        if self.kind in ("url", "hub"):
            ending = "".join(Path(self.url.rpartition("/")[2]).suffixes[-2:])
            return cache_folder() / "checkpoints" / f"{self.token.replace('/', '_')}{ending}"
        return self.path

    @property
    def is_local(self) -> bool:
        """Whether `fetch` has nothing to do; a library may still download weights when they are loaded."""
        return self.kind in ("timm", "torchvision", "untrained") or bool(self.file and self.file.exists())

    @property
    def changed_settings(self) -> dict[str, Any]:
        """The encoder's settings that differ from its defaults, without the name of a library's network."""
        defaults = self.plugin.defaults if self.plugin else {}
        return {name: value for name, value in self.settings.items() if name != "name" and defaults.get(name) != value}

    def identity(self, seed: int) -> dict[str, Any]:
        """All that decides the values of the weights; ``seed`` counts only if they are untrained."""
        if self.kind == "untrained":
            return {"seed": seed}
        if self.path:
            return {"sha256": content_hash(self.path)} | ({"part": self.part} if self.part else {})
        return {"url": self.url, "sha256": self.sha256} if self.url else {}

    @property
    def record_source(self) -> dict[str, Any]:
        """What records say under "source": where it is from, its licence, encoder, input and published numbers."""
        known = {
            "token": self.token,
            "encoder": self.encoder,
            "encoder_settings": self.changed_settings,
            "url": self.url,
            "licence": self.licence,
            "published": self.published,
            "published_in": self.source,
        }
        spec = self.input_spec
        return {key: value for key, value in known.items() if value} | {
            "input": asdict(spec) | {"words": spec.description} if spec else {}
        }


def registered_checkpoints(methods: Iterable[Plugin]) -> Iterator[Checkpoint]:
    """Every checkpoint that is registered for these methods; raises UserError for a faulty TOML file."""
    for method in methods:
        path = method.path.with_suffix(".toml")
        for name, entry in read_entries(path).items():
            check_entry(path, name, entry)
            yield parse_entry(method.name, name, entry)


def read_entries(path: Path) -> dict[str, Any]:
    """The tables of a TOML file by name, with arrays as tuples; empty if there is no such file.

    Raises UserError for a file that is not TOML.
    """
    if not path.exists():
        return {}
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error}); fix the file.") from None
    return {name: with_tuples(entry) for name, entry in entries.items()}


def with_tuples(value: Any) -> Any:
    """The value with each list in it, at any depth, as a tuple: defaults of settings are tuples, and are compared."""
    if isinstance(value, dict):
        return {name: with_tuples(part) for name, part in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


def parse_entry(method: str, name: str, entry: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that a checked table describes."""
    scheme, _, rest = entry["url"].partition(":")
    zoo = MODEL_ZOOS.get(scheme)
    input_spec = InputSpec(**entry.get("input", {}))
    channels = CHANNELS[input_spec.colour]
    return Checkpoint(
        token=f"{method}@{name}",
        method=method,
        name=name,
        kind="hub" if scheme == "hf" else "url",
        url=zoo.base + rest if zoo else entry["url"],
        sha256=entry.get("sha256", ""),
        encoder=entry.get("encoder", "resnet50"),
        settings=({"channels": channels} if channels != 3 else {}) | entry.get("settings", {}),
        input_spec=input_spec,
        licence=entry.get("licence", zoo.licence if zoo else ""),
        source=entry.get("source", zoo.source if zoo else ""),
        published={
            protocol: entry[protocol] if isinstance(entry[protocol], dict) else {"conv5": entry[protocol]}
            for protocol in ("linear", "knn")
            if protocol in entry
        },
        reading=entry.get("reading", ""),
    )
