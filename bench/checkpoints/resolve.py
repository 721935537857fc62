"""Turns a word of ``--methods`` that names weights trained elsewhere into checkpoints with their encoders."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from ..images.input_spec import InputSpec
from ..plugins import discovery
from ..plugins.discovery import Plugin
from ..plugins.settings import format_value
from .location import split_part
from .registry import Checkpoint, registered_checkpoints

LIBRARIES = ("timm", "torchvision")
SOURCES = (*LIBRARIES, "hf", "file")

PluginsByKind = Mapping[str, Mapping[str, Plugin]]  # kind -> name -> plugin


def is_checkpoint(word: str) -> bool:
    """Whether a word of --methods names weights, not a method to pretrain with."""
    return "@" in word or (word.partition("/")[0] in SOURCES and "/" in word)


def resolve_checkpoints(
    word: str,
    plugins: PluginsByKind,
    requested: Checkpoint,
    image_size: int,
    overrides: Mapping[str, dict[str, Any]] = {},
) -> Iterator[Checkpoint]:
    """The checkpoints that a word names, each with the plugin of its encoder.

    ``requested`` describes the encoder of ``--encoder``, the first candidate for a file whose encoder is not named.
    ``overrides`` are settings by plugin; they hold for an encoder that the word names.
    Raises UserError if the word names nothing.
    """
    source, slash, rest = word.partition("/")
    if source in LIBRARIES and slash:
        from .libraries import library_checkpoint

        name, _, state = rest.partition("@")
        if state not in ("", "random") and source == "timm":
            raise UserError(f"--methods {word}: after @ timm knows only random; weights are named timm/NAME.WEIGHTS.")
        yield with_encoder_plugin(with_overrides(library_checkpoint(word, source, name, state), overrides), plugins)
    elif source == "file" and slash:
        yield from resolve_files(word, rest, plugins, requested, image_size, overrides)
    elif source == "hf" and slash:
        path, _, encoder = rest.partition("@")
        if path.count("/") < 2 or not encoder:
            raise UserError(f"--methods {word}: write hf/OWNER/REPOSITORY/FILE@ENCODER.")
        named = encoder_checkpoint(word, encoder, kind="hub", url=f"hf:{path}")
        yield with_encoder_plugin(with_overrides(named, overrides), plugins)
    else:
        for checkpoint in find_registered(word, plugins["method"]):
            yield with_encoder_plugin(checkpoint, plugins)


def find_registered(word: str, methods: Mapping[str, Plugin], option: str = "--methods") -> list[Checkpoint]:
    """The registered checkpoints that a word names: METHOD@NAME, METHOD@published or all@published.

    Raises UserError if there are none; the message begins with ``option``, where the word stands.
    """
    method, _, name = word.partition("@")
    if method == "all" and name == "published":
        return list(registered_checkpoints(methods.values()))
    of_method = list(registered_checkpoints([discovery.plugin_named(method, methods, option)]))
    if name == "published" and of_method:
        return of_method
    if named := [checkpoint for checkpoint in of_method if checkpoint.name == name]:
        return named
    known = of_method or registered_checkpoints(methods.values())
    raise UserError(
        f"{option} {word}: {method} has no checkpoint {name!r}. "
        f"{did_you_mean(word, [checkpoint.token for checkpoint in known])} `list checkpoints` shows all."
    )


def named_encoder(word: str) -> str:
    """The encoder plugin that a word names: after @, or the library of a library's network; else ""."""
    source = word.partition("/")[0]
    return source if source in LIBRARIES else word.rpartition("@")[2].partition("/")[0] if source in SOURCES else ""


def with_overrides(checkpoint: Checkpoint, overrides: Mapping[str, dict[str, Any]]) -> Checkpoint:
    """The checkpoint with what ``--set`` says of its encoder: its settings, and the normalisation of its input."""
    changes = overrides.get(checkpoint.encoder.partition("/")[0], {})
    normalisation = {name: changes[name] for name in ("mean", "std") if name in changes}
    spec = replace(checkpoint.input_spec, **normalisation) if checkpoint.input_spec else None
    return replace(checkpoint, settings=checkpoint.settings | changes, input_spec=spec)


def resolve_files(
    word: str,
    rest: str,
    plugins: PluginsByKind,
    requested: Checkpoint,
    image_size: int,
    overrides: Mapping[str, dict[str, Any]],
) -> Iterator[Checkpoint]:
    """Local files; the encoder of each is named after @ or detected from its tensors, a part of it is named after #."""
    address, at, encoder = rest.rpartition("@")
    if not at or encoder.partition("/")[0] not in plugins["encoder"]:
        address, encoder = rest, ""
    files, part = find_files(word, address)
    from .detect import SkeletonCache, detect_encoder

    if encoder:
        usual = [with_overrides(candidate, overrides) for candidate in input_candidates(word, encoder)]
    else:
        usual = [requested, *input_candidates(word, "resnet18"), *registered_checkpoints(plugins["method"].values())]
    skeletons = SkeletonCache(image_size)
    for file in files:
        candidates = usual if encoder else [*exported_candidates(word, file, plugins), *usual]
        candidates = [with_encoder_plugin(candidate, plugins) for candidate in candidates]
        detected = detect_encoder(file, candidates, skeletons, part=part, keep_settings=bool(encoder))
        method = plugins["method"].get(detected.made_by)
        token = f"file/{file}#{detected.part}" if detected.part else f"file/{file}"
        yield Checkpoint(
            token=token,
            method=token,
            name=None,
            kind="file",
            path=file,
            part=detected.part,
            encoder=detected.encoder,
            plugin=detected.plugin,
            settings=detected.settings,
            input_spec=detected.input_spec,
            reading=reading_of(detected),
            input_mode=str(method.constants.get("input_mode", "colour")) if method else "colour",
        )


def reading_of(detected: Checkpoint) -> str | dict[str, str]:
    """How a file's features are pooled by default: as registered, or as the classifier of a library's network pools.

    Encoders that sslbench pretrained were trained by their mean.
    """
    library, _, network = detected.encoder.partition("/")
    if detected.made_by:
        return ""
    if detected.reading or library not in LIBRARIES:
        return detected.reading
    from .libraries import library_reading

    return library_reading(library, network)


def find_files(word: str, address: str) -> tuple[list[Path], str]:
    """The files of PATH or PATH#PART, where PATH may be a pattern, and the part. Raises UserError if there are none."""
    try:
        path = Path(address).expanduser()
    except RuntimeError as error:
        raise UserError(f"--methods {word}: {error} Write the whole path.") from None
    for choice, part in dict.fromkeys([(path, ""), split_part(path)]):
        if choice.is_file():  # before patterns, because a name may contain their characters
            return [choice], part
        if glob.has_magic(str(choice)) and (found := sorted(glob.glob(str(choice), recursive=True))):
            if folders := [file for file in found if not Path(file).is_file()]:
                raise UserError(f"--methods {word}: {folders[0]} is not a file; give .safetensors or torch files.")
            return [Path(file) for file in found], part
    if glob.has_magic(str(path)):
        raise UserError(f"--methods {word}: no file matches {path}.")
    raise UserError(f"--methods {word}: there is no file {path}; give a .safetensors or torch file.")


def exported_candidates(word: str, file: Path, plugins: PluginsByKind) -> list[Checkpoint]:
    """The encoder that a file of sslbench names in its header, with the data set's own images as its input.

    A header may say anything, so only networks of the libraries and encoders without a name count; none is imported.
    """
    from .safe_load import read_metadata

    encoder = str(read_metadata(file).get("encoder") or "")
    library, _, name = encoder.partition("/")
    if library not in plugins["encoder"] or (name and library not in LIBRARIES):
        return []
    try:
        return [with_encoder_plugin(replace(encoder_checkpoint(word, encoder, kind="file"), input_spec=None), plugins)]
    except UserError:
        return []


def input_candidates(word: str, encoder: str) -> list[Checkpoint]:
    """An encoder with each input that its file may expect: ImageNet's, the data set's own images, or CIFAR's."""
    default = encoder_checkpoint(word, encoder, kind="file")
    if default.input_spec is None:
        return [default]
    return [default, replace(default, input_spec=None), replace(default, input_spec=InputSpec(size=32, crop=1.0))]


def encoder_checkpoint(word: str, encoder: str, **fields: Any) -> Checkpoint:
    """A checkpoint of the encoder named after @, with the input that such encoders usually expect."""
    library, _, name = encoder.partition("/")
    if library in LIBRARIES:
        from .libraries import library_checkpoint

        return replace(library_checkpoint(word, library, name, "random"), encoder=encoder, published={}, **fields)
    # Of these, no network with an input size of its own is known.
    input_spec = None if library in ("convnet", "own", "pixels") else InputSpec()
    settings = {"name": name} if name else {}
    return Checkpoint(
        token=word, method=word, name=None, encoder=encoder, settings=settings, input_spec=input_spec, **fields
    )


def with_encoder_plugin(checkpoint: Checkpoint, plugins: PluginsByKind) -> Checkpoint:
    """The checkpoint with its encoder's plugin, and with a value for each of the encoder's settings.

    Raises UserError for a setting that the encoder does not have, or of another type or range than it declares.
    """
    if checkpoint.plugin:
        return checkpoint
    base, _, name = checkpoint.encoder.partition("/")
    plugin = discovery.plugin_named(base, plugins["encoder"], f"--methods {checkpoint.token}")
    for key, value in checkpoint.settings.items():
        check_setting(checkpoint.token, plugin, key, value)
    network = {"name": name} if name else {}
    return replace(checkpoint, plugin=plugin, settings=plugin.defaults | network | checkpoint.settings)


def check_setting(token: str, encoder: Plugin, key: str, value: Any) -> None:
    """Raises UserError for a setting that the encoder lacks, or a value of another type or range than it declares."""
    if key not in encoder.settings:
        raise UserError(f"{token}: {encoder.name} has no setting {key!r}. {did_you_mean(key, encoder.settings)}")
    setting = encoder.settings[key]
    try:
        valid = setting.parse(format_value(value), encoder.name) == value
    except UserError:
        valid = False
    if not valid:
        raise UserError(f"{token}: {encoder.name}.{key} = {value!r}: it must be {setting.allowed}; fix its TOML file.")
