"""The attentive probe: one learned query attends over the positions of a frozen map, and a linear layer follows.

N images, C channels, P = h * w positions, H heads of C / H channels, K classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_table import check_features
from .linear import ProbeResult

MOST_HEADS = 12  # as for a ViT-B
SMALLEST_DEVIATION = 1e-6  # a channel that varies less than this share of its mean is constant


class AttentiveHead(nn.Module):
    """Standardised maps (N, C, h, w) -> multi-head attention of one query over all positions -> logits (N, K).

    Chen et al., "Context Autoencoder for Self-Supervised Representation Learning", 2022, section 4
    (https://arxiv.org/abs/2202.03026), and Bardes et al., "Revisiting Feature Prediction for Learning Visual
    Representations from Video", 2024, section 4 (https://arxiv.org/abs/2404.08471), whose further MLP is left out.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, num_classes: int) -> None:
        """``mean`` and ``scale`` (C,) standardise each channel."""
        super().__init__()
        channels = len(mean)
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("scale", scale[:, None, None])
        self.heads = max(heads for heads in range(1, MOST_HEADS + 1) if channels % heads == 0)
        self.query = nn.Parameter(torch.randn(self.heads, channels // self.heads) * 0.02)
        # A bias of the keys would add the same to all positions, which the softmax takes away.
        self.key, self.value = nn.Linear(channels, channels, bias=False), nn.Linear(channels, channels)
        self.classify = nn.Linear(channels, num_classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) -> logits (N, K)."""
        columns = ((maps.float() - self.mean) * self.scale).flatten(2)  # (N, C, P)
        keys, values = (
            layer.weight.unflatten(0, (self.heads, -1)) for layer in (self.key, self.value)
        )  # (H, C / H, C)
        # With one query, keys and values need not be computed for every position: both layers are linear.
        query = torch.einsum("hd,hdc->hc", self.query, keys) / math.sqrt(keys.shape[1])
        shares = (query @ columns).softmax(2)  # (N, H, P)
        pooled = torch.einsum("nhc,hdc->nhd", shares @ columns.transpose(1, 2), values).flatten(1)
        logits: Tensor = self.classify(pooled + self.value.bias)
        return logits


def attentive_probe(
    train_maps: Tensor,
    train_labels: Tensor,
    test_maps: Tensor,
    num_classes: int,
    *,
    seed: int = 0,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
) -> ProbeResult:
    """Trains an `AttentiveHead` on maps (N, C, h, w) with AdamW, and applies it to test maps (M, C, h, w).

    Maps are read in batches, so they may be memory-mapped. Nothing is chosen on held-out images.
    """
    labels = check_features(train_maps.flatten(1), train_labels, num_classes)
    check_features(test_maps.flatten(1))
    variance, mean = torch.var_mean(train_maps.float(), dim=(0, 2, 3), correction=0)
    deviation = variance.sqrt()
    scale = torch.where(deviation > SMALLEST_DEVIATION * mean.abs() + 1e-30, 1 / deviation, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AttentiveHead(mean.cpu(), scale.cpu(), num_classes).to(labels.device)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
    batches = -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * batches)
    for _ in range(epochs):
        for indices in torch.randperm(len(labels), generator=generator).to(labels.device).tensor_split(batches):
            loss = F.cross_entropy(head(train_maps[indices]), labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        scores = torch.cat([head(maps) for maps in test_maps.split(batch_size)])
    return ProbeResult(
        predictions=scores.argmax(1),
        scores=scores,
        strength=weight_decay,
        validation_accuracies=torch.full((1,), torch.nan, dtype=torch.float64),
        choice="given",
        fit_statistics={"epochs": float(epochs)},
    )
