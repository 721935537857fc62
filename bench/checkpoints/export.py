"""Encoders pretrained here, as torchvision or timm would write them, each with a card that says what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ..encoders import Encoder
from ..encoders._resnet import ResidualEncoder
from ..records.record import Record, joined
from ..storage.atomic import write_whole
from .state_dict import respelt


def exported(
    encoder: Encoder, name: str, image_size: int, facts: dict[str, Any], measured: Iterable[Record], folder: Path
) -> list[Path]:
    """Writes the weights in safetensors and the card beside them; ``name`` is the encoder's on the command line."""
    recipe = facts["recipe"]
    stem = joined(facts["dataset"], name, facts["method"], recipe["preset"], f"s{recipe['seed']}")
    spelling = names(encoder)
    state = {respelt(own, spelling): value.cpu().contiguous() for own, value in encoder.state_dict().items()}
    weights = folder / f"{stem}.safetensors"
    write_whole(weights, save(state, {"format": "pt", "facts": json.dumps(facts, sort_keys=True)}))
    card = folder / f"{stem}.md"
    write_whole(card, model_card(encoder, name, image_size, facts, list(measured), weights.name).encode())
    return [weights, card]


def names(encoder: Encoder) -> dict[str, str]:
    """Beginnings of our names -> the library's; as they are where no library has such a network."""
    outside = isinstance(encoder, ResidualEncoder) or hasattr(encoder, "network")
    return list(encoder.key_mappings())[1] if outside else {}


def model_card(
    encoder: Encoder, name: str, image_size: int, facts: dict[str, Any], measured: list[Record], file: str
) -> str:
    """What the weights are, how they were made, how to load them, and what was measured with them."""
    recipe, cost = facts["recipe"], facts.get("cost", {})
    settings = ", ".join(f"{key} = {value}" for key, value in facts["settings"].items()) or "none"
    trained = ", ".join(f"{key} = {value}" for key, value in recipe.items())
    mean, std = ([round(value, 4) for value in part.flatten().tolist()] for part in (encoder.mean, encoder.std))
    rows = [
        f"| {record['cell']['protocol']} | {record['cell']['dataset']} | {number['tap']} | {number['metric']} "
        f"| {number['value']:.4f} | {record['key']} |"
        for record in measured
        for number in record["metrics"]
        if number["metric"] in ("accuracy", "macro_accuracy")
    ]
    table = ["| protocol | data | tap | metric | value | record |", "|:--|:--|:--|:--|--:|:--|", *rows]
    return "\n".join(
        [
            f"# {facts['method']}, {name}, pretrained on {facts['dataset']}",
            "",
            f"- method: {facts['method']} ({settings})",
            f"- data: {facts['dataset']}, fingerprint {facts.get('identity')}; no labels beyond what the method uses",
            f"- recipe: {trained}",
            f"- cost: {cost.get('pretrain_views', 0):,} views, {cost.get('pretrain_seconds', 0):,.0f} s, "
            f"{cost.get('pretrain_flops', 0):.3g} FLOPs",
            f"- made at commit {facts.get('commit')} in {facts.get('precision')}",
            f"- pictures: {image_size} pixels, RGB in [0, 1] less {mean}, divided by {std}",
            "",
            "## Load",
            "",
            "```python",
            *loading(encoder, name, image_size, file),
            "```",
            "",
            "## Measured",
            "",
            *(table if rows else ["Nothing yet."]),
            "",
        ]
    )


def loading(encoder: Encoder, name: str, image_size: int, file: str) -> list[str]:
    """Lines of Python that build the network and fill it."""
    library, _, network = name.partition("/")
    fill = f'network.load_state_dict(load_file("{file}"))'
    if isinstance(encoder, ResidualEncoder):
        stem: Any = encoder.stages["conv1"]
        small = [
            "network.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)",
            "network.maxpool = torch.nn.Identity()",
        ]
        small = small if stem[0].stride == (1, 1) else []
        head = ["import torch", "from safetensors.torch import load_file", "from torchvision.models import " + name]
        return [*head, "", f"network = {name}()", "network.fc = torch.nn.Identity()", *small, fill]
    if library == "timm":
        head = ["import timm", "from safetensors.torch import load_file"]
        return [*head, "", f'network = timm.create_model("{network}", num_classes=0, global_pool="")', fill]
    head = ["from safetensors.torch import load_file", "from bench.plugins import plugins"]
    settings = f', name="{network}"' if network else ""
    fill = fill.replace("network.", "network.network.") if hasattr(encoder, "network") else fill
    return [*head, "", f'network = plugins("encoder")["{library}"].load()({image_size}{settings})', fill]
