"""A network read from outside: what its modules put out is what its taps give."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import UserError
from . import Encoder


class Tapped(Encoder):
    """A tap is a module by its path; the whole network runs whatever is read."""

    # A tap may well be a convolution whose batch norm is the next module.
    foldable = False

    def __init__(
        self,
        network: nn.Module,
        image_size: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        rows: bool = False,
    ) -> None:
        """``rows``: four-dimensional outputs are (N, h, w, C) and not (N, C, h, w)."""
        super().__init__(mean=mean, std=std)
        self.network, self.rows = network, rows
        self.paths: dict[str, str] = {}
        self.shapes = self._shapes(image_size)

    def read_at(self, paths: Mapping[str, str]) -> None:
        """Makes the modules of these paths the taps, each under its name, shallow to deep."""
        self.paths = dict(paths)
        self.widths = {tap: self.shapes[path][1] for tap, path in self.paths.items()}

    def key_mappings(self) -> Iterator[dict[str, str]]:
        """The network's own names."""
        yield {}
        yield {"network.": ""}

    def maps(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields each tap's name and its feature maps (N, C, h, w)."""
        yield from self.features(images, self.taps).items()

    def features(self, images: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """The feature maps (N, C, h, w) of the taps asked for."""
        wanted = {self.paths[tap]: tap for tap in taps}
        seen = dict(self._outputs(self.prepared(images), set(wanted)))
        order = {tap: place for place, tap in enumerate(self.paths)}
        return dict(sorted(((wanted[path], maps) for path, maps in seen.items()), key=lambda item: order[item[0]]))

    def _outputs(self, prepared: Tensor, paths: set[str] | None) -> list[tuple[str, Tensor]]:
        """What the modules of these paths (None: all) put out that can be read as maps, in the order of running."""
        seen: dict[str, Tensor] = {}

        def hook(path: str):
            def keep(module: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, Tensor) and (maps := as_maps(output, self.rows)) is not None:
                    seen.pop(path, None)  # one that runs again counts where it ran last
                    seen[path] = maps.clone()  # the next module may well work in place

            return keep

        named = [(path, module) for path, module in self.network.named_modules() if path]
        hooks = [module.register_forward_hook(hook(path)) for path, module in named if paths is None or path in paths]
        try:
            self.network(prepared)
        finally:
            for handle in hooks:
                handle.remove()
        return list(seen.items())

    def _shapes(self, image_size: int) -> dict[str, torch.Size]:
        """Path -> shape of its maps, for every module that can be read, in the order of running."""
        channels = next((p.shape[1] for p in self.network.parameters() if p.ndim == 4), 3)
        mode = self.network.training
        try:
            self.network.eval()
            with torch.no_grad():
                outputs = self._outputs(torch.zeros(1, channels, image_size, image_size), None)
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"--encoder: {type(self.network).__name__} cannot see pictures of {image_size} pixels ({reason}); "
                "give another --image-size."
            ) from None
        self.network.train(mode)
        return {path: maps.shape for path, maps in outputs}


def as_maps(output: Tensor, rows: bool = False) -> Tensor | None:
    """Maps as they are; tokens (N, n + s * s, C) -> (N, C, s, s) without the first n; vectors (N, C) -> 1 x 1 maps."""
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if rows else output
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        grid = output[:, output.shape[1] - side * side :]
        return grid.transpose(1, 2).unflatten(2, (side, side)) if side else None
    return output[:, :, None, None] if output.ndim == 2 else None
