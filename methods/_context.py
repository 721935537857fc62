"""Predicting the later elements of a sequence from a summary of the earlier ones (contrastive predictive coding)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import distributed

from ._contrast import pairwise_products


class ContextNetwork(nn.Module):
    """Sequences (N, T, W, inputs) -> contexts c_t (N, T, W, dim) that depend on steps up to t only.

    The convolutions are masked as in van den Oord et al. 2016. Each step has W parts; ``wide`` convolutions also mix
    neighbouring parts of a step. ``length`` is the longest T whose first step the last context still depends on.
    """

    def __init__(self, inputs: int, dim: int, *, length: int, wide: bool) -> None:
        super().__init__()
        size, padding = (3, 3 if wide else 1), (0, int(wide))
        self.input_layer = nn.Linear(inputs, dim)
        self.layers = nn.ModuleList(nn.Conv2d(dim, dim, size, padding=padding) for _ in range(max(1, length // 2)))

    def forward(self, steps: Tensor) -> Tensor:
        """Residual layers, each of which looks two steps further back."""
        maps = self.input_layer(steps).movedim(-1, 1)
        for layer in self.layers:
            maps = maps + layer(F.pad(F.relu(maps), (0, 0, 2, 0)))
        contexts: Tensor = maps.movedim(1, -1)
        return contexts


class FuturePredictor(nn.Module):
    """Predicts embeddings 1 to ``steps`` steps ahead as W_k c_t from z (N, T, W, D) (equation 3 of the CPC paper)."""

    def __init__(self, inputs: int, dim: int, *, length: int, wide: bool, steps: int) -> None:
        super().__init__()
        self.context = ContextNetwork(inputs, dim, length=length, wide=wide)
        self.ahead = nn.ModuleList(nn.Linear(dim, inputs, bias=False) for _ in range(steps))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """All Q predictions (Q, D), and the index of the embedding that each predicts among all N T W, int64 (Q,)."""
        c, places = self.context(z), torch.arange(z[..., 0].numel(), device=z.device).view(z.shape[:3])
        predictions = [ahead(c[:, :-k]).flatten(0, 2) for k, ahead in enumerate(self.ahead, 1)]
        targets = [places[:, k:].flatten() for k in range(1, len(self.ahead) + 1)]
        return torch.cat(predictions).float(), torch.cat(targets)

    def contrastive_logits(self, z: Tensor, negatives: int | None) -> Tensor:
        """Embeddings (N, T, W, D) -> a row per prediction: its product with its target, then with the negatives.

        All predictions share the same ``negatives`` random embeddings of all processes (None: all embeddings). Where
        one of these is the target itself, the logit is minus infinity.
        """
        (predictions, targets), every = self(z), distributed.gather(own := z.flatten(0, 2))
        drawn = torch.randperm(len(every), device=z.device)[:negatives]
        is_target = drawn == (targets + distributed.rank() * len(own)).unsqueeze(1)
        others = pairwise_products(predictions, every[drawn]).masked_fill(is_target, -torch.inf)
        return torch.cat([(predictions * own[targets]).sum(1, keepdim=True), others], dim=1)

    def score_last_step(self, z: Tensor) -> tuple[int, Tensor, Tensor]:
        """Predicts the middle part of each sequence's last step, at most two steps ahead.

        Returns the number of steps, the scores of all parts of the batch (N, N T W), and the true part's index (N, 1).
        """
        (N, T, W), k = z.shape[:3], min(2, len(self.ahead))
        predictions = self.ahead[k - 1](self.context(z)[:, -1 - k, W // 2]).float()
        target = torch.arange(1, N + 1, device=z.device).unsqueeze(1) * T * W - W + W // 2
        return k, pairwise_products(predictions, z.flatten(0, 2)), target
