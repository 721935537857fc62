"""A base for encoders around networks that we cannot take apart: forward hooks read the outputs of their modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UserError
from . import Encoder, class_token_of


@dataclass(frozen=True)
class OutputForm:
    """What a module's output looks like."""

    shape: torch.Size  # of its feature maps, (1, C, h, w)
    prefix: int = 0  # tokens that come before those of the map
    has_token: bool = False  # whether the first token is a class token


class HookedEncoder(Encoder):
    """Each tap is the output of one module, named by its path; the whole network runs whichever taps are read."""

    # Folding would change a tap that is a convolution whose batch norm is the next module.
    foldable = False

    def __init__(
        self,
        network: nn.Module,
        image_size: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channels_last: bool = False,
    ) -> None:
        """``channels_last``: four-dimensional outputs are (N, h, w, C) and not (N, C, h, w)."""
        super().__init__(mean=mean, std=std)
        self.network, self.channels_last = network, channels_last
        self.paths: dict[str, str] = {}
        self.forms = self._output_forms(image_size)

    def set_taps(self, paths: Mapping[str, str]) -> None:
        """Defines the taps: their names, shallow to deep, and the paths of their modules."""
        self.paths = dict(paths)
        self.widths = {tap: self.forms[path].shape[1] for tap, path in self.paths.items()}

    @property
    def token_taps(self) -> tuple[str, ...]:
        """The taps whose output has more tokens than patches; the first one is taken as the class token."""
        return tuple(tap for tap, path in self.paths.items() if self.forms[path].has_token)

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """The network's own parameter names."""
        yield {}
        yield {"network.": ""}

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep."""
        yield from self.features(images, self.taps).items()

    def features(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps (N, C, h, w) of the given taps, or class tokens (N, C, 1, 1) of names from `class_token_of`."""
        wanted = set(names)
        taps = [tap for tap in self.paths if wanted & {tap, class_token_of(tap)}]
        outputs = dict(self._read_outputs(self.prepare_images(images), {self.paths[tap] for tap in taps}))
        found: dict[str, Tensor] = {}
        for tap in taps:
            output, prefix = outputs[self.paths[tap]], self.forms[self.paths[tap]].prefix
            if tap in wanted:
                maps = to_feature_maps(output, self.channels_last, prefix)
                assert maps is not None
                found[tap] = maps
            if class_token_of(tap) in wanted:
                found[class_token_of(tap)] = output[:, 0, :, None, None]
        return found

    def _read_outputs(self, prepared: Tensor, paths: set[str] | None) -> list[tuple[str, Tensor]]:
        """Runs the network; returns path and output of these modules (None: all), in the order they ran."""
        outputs: dict[str, Tensor] = {}

        def hook_for(path: str) -> Callable[[nn.Module, object, object], None]:
            def store(module: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, Tensor) and output.ndim in (2, 3, 4):
                    outputs.pop(path, None)  # a module that runs twice counts at its last place
                    outputs[path] = output.clone()  # the next module may work in place

            return store

        modules = [(path, module) for path, module in self.network.named_modules() if path]
        hooks = [
            module.register_forward_hook(hook_for(path)) for path, module in modules if paths is None or path in paths
        ]
        try:
            self.network(prepared)
        finally:
            for hook in hooks:
                hook.remove()
        return list(outputs.items())

    def _output_forms(self, image_size: int) -> dict[str, OutputForm]:
        """Path -> form of its output, for every module that has feature maps, in the order they run."""
        channels = next((p.shape[1] for p in self.network.parameters() if p.ndim == 4), 3)
        mode = self.network.training
        try:
            self.network.eval()
            with torch.no_grad():
                outputs = self._read_outputs(torch.zeros(1, channels, image_size, image_size), None)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"--encoder: {type(self.network).__name__} cannot process images of {image_size} pixels ({reason}); "
                "give another --image-size."
            ) from None
        self.network.train(mode)
        forms: dict[str, OutputForm] = {}
        sides: set[int] = set()  # of the square maps so far: one of them is the grid of patches
        for path, output in outputs:
            tokens = output.shape[1] if output.ndim == 3 else 0
            patches = max((side * side for side in sides if tokens / 4 < side * side <= tokens), default=0)
            prefix = tokens - (patches or math.isqrt(tokens) ** 2)
            maps = to_feature_maps(output, self.channels_last, prefix)
            if maps is not None:
                forms[path] = OutputForm(maps.shape, prefix, has_token=bool(patches and prefix))
                sides |= {maps.shape[3]} if output.ndim == 4 and maps.shape[2] == maps.shape[3] else set()
        return forms


def to_feature_maps(output: Tensor, channels_last: bool, prefix: int) -> Tensor | None:
    """A module's output as feature maps (N, C, h, w), or None if it has none of the known shapes.

    Tokens (N, prefix + s * s, C) become (N, C, s, s) without the prefix; vectors (N, C) become 1 x 1 maps.
    """
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        side = math.isqrt(output.shape[1] - prefix)
        return output[:, -side * side :].mT.unflatten(2, (side, side)) if side else None
    return output[:, :, None, None]
