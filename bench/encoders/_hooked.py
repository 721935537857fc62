"""A base for encoders around networks that we cannot take apart: forward hooks read the outputs of their modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import UserError
from . import Encoder


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
        self.shapes = self._output_shapes(image_size)

    def set_taps(self, paths: Mapping[str, str]) -> None:
        """Defines the taps: their names, shallow to deep, and the paths of their modules."""
        self.paths = dict(paths)
        self.widths = {tap: self.shapes[path][1] for tap, path in self.paths.items()}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """The network's own parameter names."""
        yield {}
        yield {"network.": ""}

    def iter_features(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w), shallow to deep."""
        yield from self.features(images, self.taps).items()

    def features(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Feature maps (N, C, h, w) of the given taps."""
        tap_at = {self.paths[tap]: tap for tap in taps}
        outputs = dict(self._read_outputs(self.prepare_images(images), set(tap_at)))
        order = {tap: place for place, tap in enumerate(self.paths)}
        return dict(sorted(((tap_at[path], maps) for path, maps in outputs.items()), key=lambda item: order[item[0]]))

    def _read_outputs(self, prepared: Tensor, paths: set[str] | None) -> list[tuple[str, Tensor]]:
        """Runs the network; returns path and feature maps of these modules (None: all), in the order they ran."""
        outputs: dict[str, Tensor] = {}

        def hook_for(path: str) -> Callable[[nn.Module, object, object], None]:
            def store(module: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, Tensor) and (maps := to_feature_maps(output, self.channels_last)) is not None:
                    outputs.pop(path, None)  # a module that runs twice counts at its last place
                    outputs[path] = maps.clone()  # the next module may work in place

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

    def _output_shapes(self, image_size: int) -> dict[str, torch.Size]:
        """Path -> shape of its feature maps, for every module that has some, in the order they run."""
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
        return {path: maps.shape for path, maps in outputs}


def to_feature_maps(output: Tensor, channels_last: bool = False) -> Tensor | None:
    """A module's output as feature maps (N, C, h, w), or None if it has none of the known shapes.

    Tokens (N, n + s * s, C) become (N, C, s, s) without the first n; vectors (N, C) become 1 x 1 maps.
    """
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        grid = output[:, output.shape[1] - side * side :].mT
        return grid.reshape(len(output), output.shape[2], side, side) if side else None
    return output[:, :, None, None] if output.ndim == 2 else None
