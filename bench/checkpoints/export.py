"""Exports pretrained encoders with the names that torchvision or timm give their tensors, and with a model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialize

from ..encoders import Encoder
from ..encoders._input_mode import HalvesEncoder
from ..encoders._resnet import ResidualEncoder
from ..records.record import Record
from ..records.store import file_name
from ..storage.atomic import atomic_write
from .state_dict import map_key

RESIDUAL_DEFAULTS = {"channels": 3, "last_stride": 2, "stem_padding": 1, "stem": "auto"}
"""Settings of our residual networks with which they are torchvision's."""

SEEN = {"lightness": "L* three times", "chroma": "a*, b* and their mean"}
"""The channels of an encoder that does not see RGB, by its ``colour_part``."""


def export_encoder(
    encoder: Encoder,
    name: str,
    settings: Mapping[str, Any],
    image_size: int,
    metadata: dict[str, Any],
    measured: Iterable[Record],
    folder: Path,
    unusual: Sequence[str] = (),
) -> list[Path]:
    """Writes the weights as a safetensors file and a model card next to it; returns both paths.

    ``name`` is the encoder as ``--encoder`` names it, ``settings`` are its own, ``measured`` are its records;
    ``unusual`` are words for the files' names, which distinguish them from those of the default settings.
    """
    recipe = metadata["recipe"]
    stem = file_name(metadata["dataset"], name, metadata["method"], recipe["preset"], f"s{recipe['seed']}", *unusual)
    mapping = library_key_mapping(encoder, settings)
    state = {map_key(key, mapping): value.cpu().contiguous() for key, value in encoder.state_dict().items()}
    weights = folder / f"{stem}.safetensors"
    atomic_write(weights, serialize(state, {"format": "pt", "facts": json.dumps(metadata, sort_keys=True)}))
    card = folder / f"{stem}.md"
    code = loading_code(encoder, name, settings, image_size, weights.name)
    atomic_write(card, model_card(encoder, name, image_size, metadata, list(measured), code).encode())
    return [weights, card]


def is_library_network(encoder: Encoder, settings: Mapping[str, Any]) -> bool:
    """Whether torchvision or timm can build the encoder: all of its settings are theirs, and it sees colours."""
    if encoder.colour_part != "colour":
        return False
    changed = {key for key, usual in RESIDUAL_DEFAULTS.items() if settings.get(key, usual) != usual}
    return hasattr(encoder, "network") or (isinstance(encoder, ResidualEncoder) and not changed)


def library_key_mapping(encoder: Encoder, settings: Mapping[str, Any]) -> dict[str, str]:
    """Beginnings of the encoder's names -> those of torchvision or timm; empty if neither has this network."""
    return list(encoder.key_mappings())[1] if is_library_network(encoder, settings) else {}


def model_card(
    encoder: Encoder, name: str, image_size: int, metadata: dict[str, Any], measured: list[Record], code: list[str]
) -> str:
    """Markdown: what the weights are, how they were made, how to load them, and the accuracies measured with them."""
    recipe, cost = metadata["recipe"], metadata.get("cost", {})
    settings = ", ".join(f"{key} = {value}" for key, value in metadata["settings"].items()) or "none"
    trained = ", ".join(f"{key} = {value}" for key, value in recipe.items())
    mean, std = ([round(value, 4) for value in part.flatten().tolist()] for part in (encoder.mean, encoder.std))
    rows = [
        f"| {record.cell.protocol} | {record.cell.dataset} | {found.tap} | {found.metric} | {found.value:.4f} "
        f"| {record.key} |"
        for record in measured
        for found in record.measurements
        if found.metric in ("accuracy", "macro_accuracy")
    ]
    table = ["| protocol | data | tap | metric | value | record |", "|:--|:--|:--|:--|--:|:--|", *rows]
    return "\n".join(
        [
            f"# {metadata['method']}, {name}, pretrained on {metadata['dataset']}",
            "",
            f"- method: {metadata['method']} ({settings})",
            f"- data: {metadata['dataset']}, fingerprint {metadata.get('identity')}; "
            "no labels beyond what the method uses",
            f"- recipe: {trained}",
            f"- cost: {cost.get('pretrain_views', 0):,} views, {cost.get('pretrain_seconds', 0):,.0f} s, "
            f"{cost.get('pretrain_flops', 0):.3g} FLOPs",
            f"- made at commit {metadata.get('commit')} in {metadata.get('precision')}",
            f"- images: {image_size} pixels, {SEEN.get(encoder.colour_part, 'RGB')} in [0, 1] minus {mean}, "
            f"divided by {std}",
            "",
            "## Load",
            "",
            "```python",
            *code,
            "```",
            "",
            "## Measured",
            "",
            *(table if rows else ["Nothing yet."]),
            "",
        ]
    )


def loading_code(encoder: Encoder, name: str, settings: Mapping[str, Any], image_size: int, file: str) -> list[str]:
    """Lines of Python that build the network and load the file into it."""
    library, _, network = name.partition("/")
    load = f'load_state_dict(load_file("{file}"))'
    if isinstance(encoder, ResidualEncoder) and is_library_network(encoder, settings):
        stem: Any = encoder.stages["conv1"]
        small = [
            "network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)",
            "network.maxpool = torch.nn.Identity()",
        ]
        small = small if stem[0].stride == (1, 1) else []
        head = ["import torch", "from safetensors.torch import load_file", f"from torchvision.models import {name}"]
        return [*head, "", f"network = {name}()", "network.fc = torch.nn.Identity()", *small, f"network.{load}"]
    if library == "timm" and is_library_network(encoder, settings):
        return [
            "import timm",
            "from safetensors.torch import load_file",
            "",
            *timm_code(encoder, network, settings, image_size),
            f"network.{load}",
        ]
    mode = "halves" if isinstance(encoder, HalvesEncoder) else encoder.colour_part
    part = "network." * (hasattr(encoder, "network") and is_library_network(encoder, settings))
    values = {key: value for key, value in settings.items() if key != "name"} | ({"name": network} if network else {})
    return [
        "from safetensors.torch import load_file",
        "from sslbench.bench.encoders._input_mode import encoder_for_input_mode",
        "from sslbench.bench.plugins.discovery import find_plugins",
        "",
        f'encoder_class = find_plugins("encoder")["{library}"].load()',
        f'network = encoder_for_input_mode(encoder_class, "{mode}", {image_size}, {values})',
        f"network.{part}{load}",
    ]


def timm_code(encoder: Encoder, name: str, settings: Mapping[str, Any], image_size: int) -> list[str]:
    """Lines of Python that build a network of timm as the encoder plugin does."""
    network: Any = encoder.network
    options = ["num_classes=0"]
    if hasattr(network, "patch_embed") and hasattr(network, "set_input_size"):
        options.append(f"img_size={image_size}")
    if settings.get("heads"):
        options.append(f"num_heads={settings['heads']}")
    pooling = ["network.attn_pool = None"] if getattr(network, "attn_pool", "") is None else []
    return [f'network = timm.create_model("{name}", {", ".join(options)})', *pooling]
