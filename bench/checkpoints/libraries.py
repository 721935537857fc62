"""Networks of timm and torchvision, with the weights that these libraries distribute."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import UserError, did_you_mean
from ..images.input_spec import MEAN, STD, InputSpec
from .registry import Checkpoint, CheckpointUnavailable, Kind


def library_checkpoint(word: str, library: str, name: str, state: str) -> Checkpoint:
    """The checkpoint of a network, by its name in the library.

    ``state`` is "random", the name of weights, or "" for the library's default weights. Raises UserError for a name
    that the library does not have.
    """
    look_up = {"timm": look_up_timm, "torchvision": look_up_torchvision}[library]
    network, weights, input_spec, licence = look_up(word, name, state)
    kind: Kind = "untrained" if state == "random" else "timm" if library == "timm" else "torchvision"
    return Checkpoint(
        token=word,
        method=word,
        name=None,
        kind=kind,
        url="" if state == "random" else f"{library}:{weights}",
        encoder=f"{library}/{network}",
        input_spec=input_spec,
        licence=licence,
        reading=library_reading(library, network),
    )


@cache
def library_reading(library: str, network: str) -> Literal["", "token"]:
    """ "token" for a network whose own classifier reads the class token; its published numbers are of it."""
    if library == "torchvision":
        return "token" if network.startswith("vit_") else ""
    import timm

    with torch.device("meta"):
        model: Any = timm.create_model(network, pretrained=False)
    return "token" if getattr(model, "global_pool", "") == "token" else ""


def look_up_timm(word: str, name: str, state: str) -> tuple[str, str, InputSpec, str]:
    """Network, weights, input and licence of a timm name."""
    import timm

    network = name.partition(".")[0]
    if network not in timm.list_models():
        raise UserError(
            f"--methods {word}: timm has no network {network!r}. {did_you_mean(network, timm.list_models())}"
        )
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # for unknown weights
        config = None
    if config is None or (state != "random" and not config.has_weights):
        known = timm.list_pretrained(f"{network}*") or ["none"]
        raise UserError(f"--methods {word}: timm has no such weights. {did_you_mean(name, known)} @random needs none.")
    input_spec = InputSpec(
        size=config.input_size[-1],
        crop=config.crop_pct or 1.0,
        resampling=supported_resampling(config.interpolation),
        mean=tuple(config.mean),
        std=tuple(config.std),
    )
    weights = f"{network}.{config.tag}" if config.tag else network
    return network, weights, input_spec, str(config.license or "")


def look_up_torchvision(word: str, name: str, state: str) -> tuple[str, str, InputSpec, str]:
    """Network, weights, input and licence (always empty, as torchvision names none) of a torchvision name."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"--methods {word}: torchvision has no network {name!r}. {did_you_mean(name, known)}")
    choices: Any = models.get_model_weights(name)
    tag = choices.DEFAULT.name if state in ("", "random") else state
    if tag not in choices.__members__:
        raise UserError(f"--methods {word}: torchvision has no such weights. {did_you_mean(tag, choices.__members__)}")
    transforms = choices[tag].transforms()
    input_spec = InputSpec(
        size=transforms.crop_size[0],
        crop=min(1.0, transforms.crop_size[0] / transforms.resize_size[0]),
        resampling=supported_resampling(transforms.interpolation.value),
        mean=tuple(transforms.mean or MEAN),
        std=tuple(transforms.std or STD),
    )
    return name, f"{name}.{tag}", input_spec, ""


def supported_resampling(name: str) -> Literal["bilinear", "bicubic"]:
    """Bicubic for "bicubic", bilinear for every other name."""
    return "bicubic" if name == "bicubic" else "bilinear"


def library_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The network's state dict; raises CheckpointUnavailable if the library cannot download it."""
    network, _, tag = checkpoint.url.partition(":")[2].partition(".")
    try:
        if checkpoint.kind == "timm":
            import timm

            model: Any = timm.create_model(f"{network}.{tag}" if tag else network, pretrained=True)
        else:
            from torchvision import models

            model = models.get_model(network, weights=tag)
        return dict(model.state_dict())
    except Exception as error:  # each library and its network code raise their own kinds
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise CheckpointUnavailable(
            f"{checkpoint.token}: {checkpoint.kind} could not load its weights ({reason}); without a network, save its "
            f"state dict elsewhere and give --methods file/PATH@{checkpoint.encoder}."
        ) from None
