"""Exports pretrained encoders with the names that torchvision or timm give their tensors, and with a model card."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialize

from ..encoders import Encoder
from ..encoders._resnet import ResidualEncoder
from ..records.record import Record
from ..records.store import file_name
from ..storage.atomic import atomic_write
from .state_dict import map_key


def export_encoder(
    encoder: Encoder, name: str, image_size: int, metadata: dict[str, Any], measured: Iterable[Record], folder: Path
) -> list[Path]:
    """Writes the weights as a safetensors file and a model card next to it; returns both paths.

    ``name`` is the encoder as ``--encoder`` names it, ``measured`` are the records of this encoder.
    """
    recipe = metadata["recipe"]
    stem = file_name(metadata["dataset"], name, metadata["method"], recipe["preset"], f"s{recipe['seed']}")
    mapping = library_key_mapping(encoder)
    state = {map_key(key, mapping): value.cpu().contiguous() for key, value in encoder.state_dict().items()}
    weights = folder / f"{stem}.safetensors"
    atomic_write(weights, serialize(state, {"format": "pt", "facts": json.dumps(metadata, sort_keys=True)}))
    card = folder / f"{stem}.md"
    atomic_write(card, model_card(encoder, name, image_size, metadata, list(measured), weights.name).encode())
    return [weights, card]


def library_key_mapping(encoder: Encoder) -> dict[str, str]:
    """Beginnings of the encoder's names -> those of torchvision or timm; empty if neither has this network."""
    in_library = isinstance(encoder, ResidualEncoder) or hasattr(encoder, "network")
    return list(encoder.key_mappings())[1] if in_library else {}


def model_card(
    encoder: Encoder, name: str, image_size: int, metadata: dict[str, Any], measured: list[Record], file: str
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
            f"- images: {image_size} pixels, RGB in [0, 1] minus {mean}, divided by {std}",
            "",
            "## Load",
            "",
            "```python",
            *loading_code(encoder, name, image_size, file),
            "```",
            "",
            "## Measured",
            "",
            *(table if rows else ["Nothing yet."]),
            "",
        ]
    )


def loading_code(encoder: Encoder, name: str, image_size: int, file: str) -> list[str]:
    """Lines of Python that build the network and load the file into it."""
    library, _, network = name.partition("/")
    load = f'load_state_dict(load_file("{file}"))'
    if isinstance(encoder, ResidualEncoder):
        stem: Any = encoder.stages["conv1"]
        small = [
            "network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)",
            "network.maxpool = torch.nn.Identity()",
        ]
        small = small if stem[0].stride == (1, 1) else []
        head = ["import torch", "from safetensors.torch import load_file", f"from torchvision.models import {name}"]
        return [*head, "", f"network = {name}()", "network.fc = torch.nn.Identity()", *small, f"network.{load}"]
    if library == "timm":
        head = ["import timm", "from safetensors.torch import load_file"]
        build = f'network = timm.create_model("{network}", num_classes=0, global_pool="")'
        return [*head, "", build, f"network.{load}"]
    head = ["from safetensors.torch import load_file", "from sslbench.bench.plugins.discovery import find_plugins"]
    settings = f', name="{network}"' if network else ""
    build = f'network = find_plugins("encoder")["{library}"].load()({image_size}{settings})'
    return [*head, "", build, f"network.{'network.' * hasattr(encoder, 'network')}{load}"]
