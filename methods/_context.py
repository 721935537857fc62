"""Foretelling what comes later in a sequence from what has been read of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._contrast import products


class Context(nn.Module):
    """Steps (N, T, W, inputs) -> (N, T, W, dim), each from its own step and all before it (van den Oord et al. 2016).

    Of a step's W parts, each meets its neighbours; ``length`` is the longest T of which all is seen.
    """

    def __init__(self, inputs: int, dim: int, *, length: int, wide: bool) -> None:
        super().__init__()
        size, padding = (3, 3 if wide else 1), (0, int(wide))
        self.enter = nn.Linear(inputs, dim)
        self.layers = nn.ModuleList(nn.Conv2d(dim, dim, size, padding=padding) for _ in range(max(1, length // 2)))

    def forward(self, steps: Tensor) -> Tensor:
        """Residual layers, each of which looks two steps further back."""
        maps = self.enter(steps).movedim(-1, 1)
        for layer in self.layers:
            maps = maps + layer(F.pad(F.relu(maps), (0, 0, 2, 0)))
        return maps.movedim(1, -1)


class Foretelling(nn.Module):
    """Embeddings z (N, T, W, D) -> those that come 1 to ``steps`` later: W_k c_t (van den Oord et al. 2018, eq. 3)."""

    def __init__(self, inputs: int, dim: int, *, length: int, wide: bool, steps: int) -> None:
        super().__init__()
        self.context = Context(inputs, dim, length=length, wide=wide)
        self.ahead = nn.ModuleList(nn.Linear(dim, inputs, bias=False) for _ in range(steps))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """All predictions (Q, D), and the place of each one's true embedding among the N T W, int64 (Q,)."""
        c, place = self.context(z), torch.arange(z[..., 0].numel(), device=z.device).view(z.shape[:3])
        said = [ahead(c[:, :-k]).flatten(0, 2) for k, ahead in enumerate(self.ahead, 1)]
        meant = [place[:, k:].flatten() for k in range(1, len(self.ahead) + 1)]
        return torch.cat(said).float(), torch.cat(meant)

    def last(self, z: Tensor) -> tuple[int, Tensor, Tensor]:
        """How far ahead the last step's middle part is foretold, two at most; all scores (N, NTW); its place (N, 1)."""
        (N, T, W), k = z.shape[:3], min(2, len(self.ahead))
        said = self.ahead[k - 1](self.context(z)[:, -1 - k, W // 2]).float()
        place = torch.arange(1, N + 1, device=z.device).unsqueeze(1) * T * W - W + W // 2
        return k, products(said, z.flatten(0, 2)), place
