"""Any network of the timm library: ``--encoder timm/<name>``.

The taps conv1 … conv5 are spread evenly over its blocks or stages. The last one is what timm's ``forward_features``
gives, so the network's final norm is applied there and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import timm
import torch
from annotated_types import Ge
from torch import Tensor, nn

from ..errors import UserError, did_you_mean, require
from ..images.input_spec import MEAN, STD
from ..plugins.ranges import Positive, Share
from . import Encoder, class_token_of, normalise_channels

REVISION = 2  # the deepest tap is read after the final norm

TapOutput = tuple[Tensor, Tensor | None]  # feature maps (N, C, h, w) and prefix tokens (N, n, C)


class Timm(Encoder):
    """A network of timm without its classifier. Mean and deviation are those of its configuration, unless set."""

    later_settings: ClassVar = {"mean": (), "std": ()}

    def __init__(
        self,
        image_size: int,
        *,
        name: str = "resnet18",
        heads: Annotated[int, Ge(0)] = 0,
        mean: tuple[Share, ...] = (),  # of values in [0, 1]; empty: the network's own
        std: tuple[Positive, ...] = (),
    ) -> None:
        """``heads``: the number of attention heads; 0 keeps the network's own."""
        require(len(mean) == len(std) and len(std) in (0, 3), "timm.std", std, "3 values, and timm.mean as many")
        network = build_network(name, {"num_heads": heads} if heads else {})
        super().__init__(mean=mean or network.default_cfg["mean"], std=std or network.default_cfg["std"])
        if hasattr(network, "patch_embed") and hasattr(network, "set_input_size"):
            network.set_input_size(img_size=(image_size, image_size))
        self.network: Any = network
        parameters = inspect.signature(network.forward_intermediates).parameters
        with_tokens = "return_prefix_tokens" in parameters and bool(getattr(network, "num_prefix_tokens", False))
        self.options = {"return_prefix_tokens": True} if with_tokens else {}
        network.eval()
        with torch.no_grad():
            outputs = self._run(torch.zeros(1, 3, image_size, image_size), None)
        count = min(5, len(outputs))
        self.layers = [round((n + 1) * len(outputs) / count) - 1 for n in range(count)]
        chosen = {f"conv{6 - count + n}": outputs[layer] for n, layer in enumerate(self.layers)}
        self.widths = {tap: maps.shape[1] for tap, (maps, _) in chosen.items()}
        has_class_token = getattr(network, "cls_token", None) is not None or network_pooling(network) == "token"
        self._token_taps = tuple(tap for tap, (_, prefix) in chosen.items() if has_class_token and prefix is not None)
        network.train()

    @property
    def token_taps(self) -> tuple[str, ...]:
        """The taps at which it has a class token; empty for a network without one."""
        return self._token_taps

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """timm's own names; for a vision transformer also those of MMPretrain."""
        yield {}
        yield {"network.": ""}
        if hasattr(self.network, "blocks") and hasattr(self.network, "patch_embed"):
            yield mmpretrain_keys(len(self.network.blocks))

    def settings_from_extra_keys(self, names: Sequence[str]) -> dict[str, Any]:
        """ImageNet's mean and deviation for a file without timm's classifier: timm's default weights have one.

        Such files are of self-supervised methods, which normalise with these values (DINO, MoCo v3, MAE, MMPretrain).
        """
        if tuple(self.network.default_cfg["mean"]) != (0.5, 0.5, 0.5):
            return {}  # CLIP's networks and those that see ImageNet's values anyway
        classifiers = self.network.default_cfg.get("classifier") or ()
        classifiers = (classifiers,) if isinstance(classifiers, str) else classifiers
        supervised = (*classifiers, "classifier", "pooler.dense")  # the last two are Hugging Face's
        with_classifier = any(f"{classifier}.weight" in names for classifier in supervised)
        return {} if with_classifier else {"mean": MEAN, "std": STD}

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep; the whole network runs."""
        for name, maps in self.iter_outputs(images):
            if name in self.widths:
                yield name, maps

    def iter_outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """As `iter_features`, and at each of `token_taps` also the class token as a map (N, C, 1, 1)."""
        outputs = self._run(self.prepare_images(images), self.layers)
        for tap, (maps, prefix) in zip(self.widths, outputs, strict=True):
            yield tap, maps
            if tap in self.token_taps and prefix is not None:
                yield class_token_of(tap), prefix[:, 0, :, None, None]

    def norm_after_pooling(self, pooled: Tensor) -> Tensor:
        """Applies the norm that some networks of timm have in their head, after pooling (BEiT, ConvNeXt)."""
        head = getattr(self.network, "head", None)
        for norm in (getattr(self.network, "fc_norm", None), getattr(head, "norm", None)):
            weight = getattr(norm, "weight", None)
            if isinstance(norm, nn.Module) and weight is not None and weight.shape == (pooled.shape[1],):
                return normalise_channels(pooled, norm)
        return pooled

    def _run(self, prepared: Tensor, layers: list[int] | None) -> list[TapOutput]:
        """The outputs of these layers (None: all); the last layer's are those of ``forward_features``."""
        final, found = self.network.forward_intermediates(prepared, indices=layers, **self.options)
        outputs = [one if isinstance(one, tuple) else (one, None) for one in found]
        return [*outputs[:-1], split_final(final, outputs[-1][0], self.network)]


def build_network(name: str, options: dict[str, Any]) -> Any:
    """timm's network without its classifier. Raises UserError if timm lacks it, or lacks access to its layers."""
    if name not in timm.list_models() and not timm.list_pretrained(name):
        raise UserError(f"timm has no network {name!r}. {did_you_mean(name, timm.list_models())}")
    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, **options)
    except TypeError:
        raise UserError(f"timm.heads = {options.get('num_heads')}: timm/{name} has no such setting; use 0.") from None
    if not hasattr(network, "forward_intermediates"):
        raise UserError(f"timm/{name} gives no access to its intermediate layers; choose another network.")
    if network_pooling(network) == "map":
        network.attn_pool = None  # a part of the classifier
    return network


def network_pooling(network: nn.Module) -> str:
    """How the network's own classifier pools: "token" if it reads the class token."""
    pooling = getattr(network, "global_pool", "")
    return pooling if isinstance(pooling, str) else ""


def split_final(final: Any, maps: Tensor, network: nn.Module) -> TapOutput:
    """What ``forward_features`` gives, as feature maps and prefix tokens.

    ``maps`` (N, C, h, w), the last layer's output before the final norm, has the same grid of positions; it stands in
    where the network gives no positions at all.
    """
    if not isinstance(final, Tensor):
        return maps, None
    if final.ndim == 4:
        return final.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "") == "NHWC" else final, None
    height, width = maps.shape[2:]
    extra = final.shape[1] - height * width
    if extra < 0:
        return maps, final  # PiT: its final norm is for the class token alone
    grid = final[:, extra:].mT.unflatten(2, (height, width))
    return grid, final[:, :extra] if extra else None


def mmpretrain_keys(depth: int) -> dict[str, str]:
    """Our prefixes of a vision transformer's parameter names -> those of MMPretrain."""
    names = {"network.": "", "network.patch_embed.proj.": "patch_embed.projection.", "network.norm.": "ln1."}
    parts = {"norm1.": "ln1.", "norm2.": "ln2.", "mlp.fc1.": "ffn.layers.0.0.", "mlp.fc2.": "ffn.layers.1."}
    for block in range(depth):
        ours, theirs = f"network.blocks.{block}.", f"layers.{block}."
        names |= {ours: theirs} | {ours + part: theirs + other for part, other in parts.items()}
    return names
