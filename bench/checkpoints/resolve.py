"""What a word of ``--methods`` means when it names weights that somebody else trained."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from ..plugins import discovery as plugins
from ..plugins.discovery import Plugin
from .registry import Checkpoint, registered

LIBRARIES = ("timm", "torchvision")
SOURCES = (*LIBRARIES, "hf", "file")

Known = Mapping[str, Mapping[str, Plugin]]  # kind -> name -> plugin


def is_checkpoint(word: str) -> bool:
    """Whether a word of --methods names weights and not a method to pretrain."""
    return "@" in word or (word.partition("/")[0] in SOURCES and "/" in word)


def checkpoints(word: str, known: Known, fallback: Checkpoint, image_size: int) -> Iterator[Checkpoint]:
    """The checkpoints that a word names, each with its encoder; ``fallback`` is the encoder that was asked for.

    Raises UserError for what there is none of.
    """
    source, slash, rest = word.partition("/")
    if source in LIBRARIES and slash:
        from .libraries import described

        name, _, state = rest.partition("@")
        if state not in ("", "random") and source == "timm":
            raise UserError(f"--methods {word}: after @ timm knows only random; weights are named timm/NAME.WEIGHTS.")
        yield with_plugin(described(word, source, name, state), known)
    elif source == "file" and slash:
        yield from files(word, rest, known, fallback, image_size)
    elif source == "hf" and slash:
        path, _, encoder = rest.partition("@")
        if path.count("/") < 2 or not encoder:
            raise UserError(f"--methods {word}: write hf/OWNER/REPOSITORY/FILE@ENCODER.")
        yield with_plugin(named_encoder(word, encoder, kind="hub", url=f"hf:{path}"), known)
    else:
        for found in published(word, known["method"]):
            yield with_plugin(found, known)


def published(word: str, methods: Mapping[str, Plugin]) -> list[Checkpoint]:
    """The registered checkpoints that a word names: METHOD@NAME, METHOD@published or all@published."""
    method, _, name = word.partition("@")
    if method == "all" and name == "published":
        return list(registered(methods.values()))
    found = list(registered([plugins.named(method, methods, "--methods")]))
    if name == "published" and found:
        return found
    if chosen := [checkpoint for checkpoint in found if checkpoint.name == name]:
        return chosen
    everywhere = [checkpoint.token for checkpoint in registered(methods.values())]
    own = [checkpoint.token for checkpoint in found]
    raise UserError(
        f"--methods {word}: {method} has no checkpoint {name!r}. {did_you_mean(word, own or everywhere)} "
        "`list checkpoints` shows all."
    )


def files(word: str, rest: str, known: Known, fallback: Checkpoint, image_size: int) -> Iterator[Checkpoint]:
    """Local checkpoints, the encoder of each told after @ or recognised by its tensors."""
    path, at, encoder = rest.rpartition("@")
    if not at or encoder.partition("/")[0] not in known["encoder"]:
        path, encoder = rest, ""
    pattern = str(Path(path).expanduser())
    found = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
    if not found:
        raise UserError(f"--methods {word}: no file matches {path}.")
    if missing := [one for one in found if not Path(one).is_file()]:
        raise UserError(f"--methods {word}: {missing[0]} is no file; give a .safetensors or torch file.")
    from .detect import Skeletons, recognised

    if encoder:
        candidates = feature_specs(word, encoder)
    else:
        candidates = [fallback, *feature_specs(word, "resnet18"), *registered(known["method"].values())]
    candidates = [with_plugin(candidate, known) for candidate in candidates]
    skeletons = Skeletons(image_size)
    for one in map(Path, found):
        chosen = recognised(one, candidates, skeletons, as_told=bool(encoder))
        maker = known["method"].get(chosen.made_by)
        yield Checkpoint(
            token=f"file/{one}",
            method=f"file/{one}",
            name=None,
            kind="file",
            path=one,
            encoder=chosen.encoder,
            plugin=chosen.plugin,
            settings=chosen.settings,
            input_spec=chosen.input_spec,
            input_mode=str(maker.constants.get("input_mode", "colour")) if maker else "colour",
        )


def feature_specs(word: str, encoder: str) -> list[Checkpoint]:
    """An encoder as published ones see pictures, as it sees those of the data set, and as CIFAR's are."""
    from ..images.input_spec import InputSpec

    asked = named_encoder(word, encoder, kind="file")
    if asked.input_spec is None:
        return [asked]
    return [asked, replace(asked, input_spec=None), replace(asked, input_spec=InputSpec(size=32, crop=1.0))]


def named_encoder(word: str, encoder: str, **more: Any) -> Checkpoint:
    """An encoder named after @, with what it input_spec to see."""
    library, _, name = encoder.partition("/")
    if library in LIBRARIES:
        from .libraries import described

        return replace(described(word, library, name, "random"), encoder=encoder, published={}, **more)
    from ..images.input_spec import InputSpec

    at_home = library in ("convnet", "own", "pixels")  # no network of these was published at a size of its own
    input_spec = None if at_home else InputSpec()
    settings = {"name": name} if name else {}
    return Checkpoint(
        token=word, method=word, name=None, encoder=encoder, settings=settings, input_spec=input_spec, **more
    )


def with_plugin(found: Checkpoint, known: Known) -> Checkpoint:
    """The checkpoint with its encoder's plugin and all of its settings."""
    if found.plugin:
        return found
    base, _, name = found.encoder.partition("/")
    plugin = plugins.named(base, known["encoder"], f"--methods {found.token}")
    named = {"name": name} if name else {}
    return replace(found, plugin=plugin, settings=plugin.defaults | named | found.settings)
