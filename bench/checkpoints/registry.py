"""Checkpoints as data: those that method files register, and what is known of any before it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..images.input_spec import CHANNELS, InputSpec
from ..plugins.discovery import Plugin
from ..storage.cache import cache_folder
from ..storage.hashing import file_hash

Kind = Literal["url", "file", "hub", "timm", "torchvision", "untrained"]


class Absent(Exception):
    """Weights that could not be had, through no fault of the user's."""


@dataclass(frozen=True)
class Zoo:
    """A collection whose addresses begin alike."""

    base: str
    licence: str
    source: str


ZOOS = {
    "vissl": Zoo(
        "https://dl.fbaipublicfiles.com/vissl/model_zoo/",
        "MIT",
        "https://github.com/facebookresearch/vissl/blob/main/MODEL_ZOO.md",
    ),
    "mmselfsup": Zoo(
        "https://download.openmmlab.com/mmselfsup/",
        "Apache-2.0",
        "https://mmselfsup.readthedocs.io/en/latest/model_zoo.html",
    ),
    "lightly": Zoo(
        "https://lightly-ssl-checkpoints.s3.amazonaws.com/imagenet_",
        "MIT",
        "https://docs.lightly.ai/self-supervised-learning/getting_started/benchmarks.html",
    ),
}
"""An address "vissl:x" is the zoo's beginning and x."""

WORDS = {"url", "sha256", "encoder", "settings", "input", "licence", "source", "linear", "knn"}
"""What a method file may say of a checkpoint; ``linear`` and ``knn`` are published accuracies (fractions), by tap or of
conv5 alone."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights that somebody else trained; ``encoder`` as ``--encoder`` names it."""

    token: str  # as in --methods
    method: str  # in records and tables: the method's name, or the token
    name: str | None  # of a registered one
    kind: Kind
    url: str = ""
    path: Path | None = None
    sha256: str = ""
    encoder: str
    plugin: Plugin | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    input_spec: InputSpec | None = None
    input_mode: str = "colour"  # of a file of ours: what its method has encoders see
    made_by: str = ""  # the method that made it, if ours
    licence: str = ""
    source: str = ""
    published: dict[str, dict[str, float]] = field(default_factory=dict)  # protocol -> tap -> fraction

    @property
    def file(self) -> Path | None:
        """Where its weights are or will be; None where a library of its own keeps them."""
        if self.kind in ("url", "hub"):
            ending = "".join(Path(self.url.rpartition("/")[2]).suffixes[-2:])
            return cache_folder() / "checkpoints" / f"{self.token.replace('/', '_')}{ending}"
        return self.path

    @property
    def there(self) -> bool:
        """Whether nothing need be fetched, as far as a look at the disk can tell."""
        return self.kind in ("timm", "torchvision", "untrained") or bool(self.file and self.file.exists())

    @property
    def changed(self) -> dict[str, Any]:
        """Settings of its encoder that are not the encoder's own, the name of a network aside."""
        own = self.plugin.defaults if self.plugin else {}
        return {name: value for name, value in self.settings.items() if name != "name" and own.get(name) != value}

    def identity(self, seed: int) -> dict[str, Any]:
        """All that decides its weights."""
        if self.kind == "untrained":
            return {"seed": seed}
        if self.path:
            return {"sha256": file_hash(self.path)}
        return {"url": self.url, "sha256": self.sha256} if self.url else {}

    @property
    def facts(self) -> dict[str, Any]:
        """For a record: where it is from, what it may be used for, its input, and what was published."""
        known = {
            "token": self.token,
            "encoder": self.encoder,
            "encoder_settings": self.changed,
            "url": self.url,
            "licence": self.licence,
            "published": self.published,
        }
        told = {key: value for key, value in (known | {"published_in": self.source}).items() if value}
        return told | {"input": asdict(self.input_spec) | {"words": self.input_spec.words} if self.input_spec else {}}


def registered(plugins: Iterable[Plugin]) -> Iterator[Checkpoint]:
    """Every checkpoint that a method file registers."""
    for plugin in plugins:
        for name, said in (plugin.constants.get("checkpoints") or {}).items():
            yield checkpoint(plugin.name, name, said)


def checkpoint(method: str, name: str, said: Mapping[str, Any]) -> Checkpoint:
    """One checkpoint as its method file describes it; raises UserError for a word that means nothing."""
    if unknown := said.keys() - WORDS:
        raise UserError(f"{method}@{name}: {min(unknown)!r} is not known; a checkpoint has {', '.join(sorted(WORDS))}.")
    zoo_name, _, rest = said["url"].partition(":")
    zoo = ZOOS.get(zoo_name)
    input_spec = InputSpec(**said.get("input", {}))
    channels = CHANNELS[input_spec.colour]
    return Checkpoint(
        token=f"{method}@{name}",
        method=method,
        name=name,
        kind="hub" if zoo_name == "hf" else "url",
        url=zoo.base + rest if zoo else said["url"],
        sha256=said.get("sha256", ""),
        encoder=said.get("encoder", "resnet50"),
        settings=({"channels": channels} if channels != 3 else {}) | said.get("settings", {}),
        input_spec=input_spec,
        licence=said.get("licence", zoo.licence if zoo else ""),
        source=said.get("source", zoo.source if zoo else ""),
        published={
            protocol: said[protocol] if isinstance(said[protocol], dict) else {"conv5": said[protocol]}
            for protocol in ("linear", "knn")
            if protocol in said
        },
    )


def listing(plugins: Iterable[Plugin]) -> str:
    """What ``list checkpoints`` prints."""
    from tabulate import tabulate

    rows = [
        [
            found.token,
            found.encoder,
            found.input_spec.words if found.input_spec else "",
            ", ".join(f"{protocol} {100 * max(by.values()):.1f}" for protocol, by in found.published.items()),
            found.licence,
            "here" if found.there else "",
        ]
        for found in registered(plugins)
    ]
    head = ["checkpoint", "encoder", "input", "published (%)", "licence", "fetched"]
    return (
        f"{tabulate(rows, head, disable_numparse=True)}\n\n"
        "Also timm/NAME, torchvision/NAME, hf/OWNER/REPOSITORY/FILE and file/PATH; @random after the first two leaves "
        "them untrained,\n@ENCODER after the last two says what they hold. `fetch NAME` downloads ahead; "
        "--methods all@published runs every one above."
    )
