"""Networks of timm and torchvision with the weights that those libraries bring."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from ..errors import UserError, did_you_mean
from ..images.input_spec import MEAN, STD, InputSpec
from .registry import Absent, Checkpoint, Kind


def described(word: str, library: str, name: str, state: str) -> Checkpoint:
    """A network by its library's name; ``state`` is "random", the name of weights, or "" for the library's choice.

    Raises UserError for a name that the library does not know.
    """
    make = {"timm": of_timm, "torchvision": of_torchvision}[library]
    network, weights, input_spec, licence = make(word, name, state)
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
    )


def of_timm(word: str, name: str, state: str) -> tuple[str, str, InputSpec, str]:
    """Network, weights, input and licence of a timm name."""
    import timm

    network = name.partition(".")[0]
    if network not in timm.list_models():
        raise UserError(
            f"--methods {word}: timm has no network {network!r}. {did_you_mean(network, timm.list_models())}"
        )
    try:
        facts = timm.get_pretrained_cfg(name)
    except RuntimeError:  # for weights that it does not know
        facts = None
    if facts is None or (state != "random" and not facts.has_weights):
        known = timm.list_pretrained(f"{network}*") or ["none"]
        raise UserError(f"--methods {word}: timm has no such weights. {did_you_mean(name, known)} @random needs none.")
    input_spec = InputSpec(
        size=facts.input_size[-1],
        crop=facts.crop_pct or 1.0,
        resampling=resampling(facts.interpolation),
        mean=tuple(facts.mean),
        std=tuple(facts.std),
    )
    weights = f"{network}.{facts.tag}" if facts.tag else network
    return network, weights, input_spec, str(facts.license or "")


def of_torchvision(word: str, name: str, state: str) -> tuple[str, str, InputSpec, str]:
    """Network, weights, input and licence (torchvision names none) of a torchvision name."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"--methods {word}: torchvision has no network {name!r}. {did_you_mean(name, known)}")
    choices: Any = models.get_model_weights(name)
    tag = choices.DEFAULT.name if state in ("", "random") else state
    if tag not in choices.__members__:
        raise UserError(f"--methods {word}: no such weights. {did_you_mean(tag, choices.__members__)}")
    how = choices[tag].transforms()
    input_spec = InputSpec(
        size=how.crop_size[0],
        crop=min(1.0, how.crop_size[0] / how.resize_size[0]),
        resampling=resampling(how.interpolation.value),
        mean=tuple(how.mean or MEAN),
        std=tuple(how.std or STD),
    )
    return name, f"{name}.{tag}", input_spec, ""


def resampling(word: str) -> Literal["bilinear", "bicubic"]:
    """One of the two kinds that are known here."""
    return "bicubic" if word == "bicubic" else "bilinear"


def weights(found: Checkpoint) -> dict[str, Tensor]:
    """The library's tensors; raises Absent where they cannot be had."""
    network, _, tag = found.url.partition(":")[2].partition(".")
    try:
        if found.kind == "timm":
            import timm

            return timm.create_model(f"{network}.{tag}" if tag else network, pretrained=True).state_dict()
        from torchvision import models

        return models.get_model(network, weights=tag).state_dict()
    except Exception as error:  # each library and its network code raise their own kinds
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise Absent(
            f"{found.token}: {found.kind} could not bring its weights ({reason}); with no network, save its state "
            f"dict elsewhere and give --methods file/PATH@{found.encoder}."
        ) from None
