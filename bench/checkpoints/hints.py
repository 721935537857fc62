"""Suggests the encoder to name for a file that none of the usual encoders fits."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .spellings import spellings_of

State = Mapping[str, Tensor]

VIT_WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
RESNETS = {  # number of the last block of layer3, and whether blocks are bottlenecks
    (1, False): "resnet18",
    (5, False): "resnet34",
    (5, True): "resnet50",
    (22, True): "resnet101",
    (35, True): "resnet152",
}


def suggest_encoder(groups: Mapping[str, dict[str, Tensor]]) -> str:
    """The name of an encoder that the tensors' names and shapes speak for, as in --encoder; "" if none do."""
    for tensors in sorted(groups.values(), key=len, reverse=True):
        for spelling in spellings_of(tensors):
            if name := suggest_vit(spelling) or suggest_resnet(spelling):
                return name
    return ""


def suggest_vit(tensors: State) -> str:
    """A vision transformer of timm or torchvision with the width and the patches of these tensors."""
    by_end = {name.rpartition("patch_embed.")[2]: value for name, value in tensors.items() if "patch_embed." in name}
    if any("encoder_layer_0." in name for name in tensors):
        projection = next((value for name, value in tensors.items() if name.endswith("conv_proj.weight")), None)
        size = {768: "b", 1024: "l", 1280: "h"}.get(projection.shape[0]) if projection is not None else None
        return f"torchvision/vit_{size}_{projection.shape[-1]}" if size and projection is not None else ""
    projection = by_end.get("proj.weight")
    if projection is None or projection.ndim != 4 or not any("blocks.0.attn.qkv." in name for name in tensors):
        return ""
    size, patch = VIT_WIDTHS.get(projection.shape[0]), projection.shape[-1]
    if size is None:
        return ""
    ends = {name.rpartition(".")[2] for name in tensors}
    if any("norm_pre." in name for name in tensors):
        return f"timm/vit_{size}_patch{patch}_clip_quickgelu_224"
    if any(name.endswith("ls1.gamma") for name in tensors):
        return f"timm/vit_{size}_patch{patch}_{'reg4_' if ends & {'reg_token', 'register_tokens'} else ''}dinov2"
    return f"timm/vit_{size}_patch{patch}_224"


def suggest_resnet(tensors: State) -> str:
    """A residual network of torchvision with as many blocks as these tensors have."""
    blocks = [int(found[1]) for name in tensors if (found := re.search(r"\blayer3\.(\d+)\.conv1\.weight$", name))]
    bottleneck = any(re.search(r"\blayer3\.0\.conv3\.weight$", name) for name in tensors)
    name = RESNETS.get((max(blocks, default=-1), bottleneck), "")
    return f"torchvision/{name}" if name else ""
