"""The MLP probe: a classifier with two hidden layers, trained on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError, require
from .feature_table import FeatureTable, check_features, training_mask
from .linear import ProbeResult
from .validation import choose_strength, validation_masks

DEFAULT_STRENGTH = 1e-2  # where none can be chosen


def mlp_head(features: int, num_classes: int, hidden: int = 200) -> nn.Sequential:
    """Two hidden layers with batch norm and ReLU, and an output layer: (N, features) -> (N, num_classes)."""
    layers = [nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers += [nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
    return nn.Sequential(*layers)


def mlp_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    num_classes: int,
    *,
    strengths: Sequence[float] = (DEFAULT_STRENGTH,),
    held_out: float = 0.1,
    seed: int = 0,
    hidden: int = 200,
    epochs: int = 20,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
) -> ProbeResult:
    """Trains Gidaris et al. 2018's non-linear classifier with AdamW for a fixed number of epochs.

    The strength is the weight decay. Of several, one is chosen as `linear_probe` does, with the largest winning ties,
    and the classifier is trained again on all of train. Until then the held-out images do not contribute to mean and
    scale.
    """
    labels = check_features(train_features, train_labels, num_classes)
    check_features(test_features)
    sizes = (epochs, batch_size, hidden)
    require(min(sizes) >= 1, "epochs, batch_size, hidden", sizes, "1 or more each")
    if int(labels.min()) == int(labels.max()):
        raise UserError("all training images have the same label: a classifier needs at least two classes.")
    training = MLPTraining(num_classes, seed, hidden, epochs, batch_size, learning_rate)
    decays = torch.as_tensor(strengths, dtype=torch.float64)

    def count_correct(keep: Tensor) -> Tensor:
        rows, rest = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
        part = FeatureTable(train_features, standardise=True, keep=keep)
        heads = (training.fit(part, labels, rows, decay) for decay in decays.tolist())
        predicted = (compute_logits(head, part, train_features[rest]).argmax(1) for head in heads)
        return torch.stack([(classes == labels[rest]).sum() for classes in predicted])

    keep = training_mask(labels, held_out, seed)
    masks = validation_masks(labels, keep, held_out, seed) if len(decays) > 1 else []
    chosen = choose_strength(decays, masks, count_correct, default=DEFAULT_STRENGTH, prefer=torch.neg)
    decay = float(decays[chosen.index])
    table = FeatureTable(train_features, standardise=True)
    everything = torch.arange(len(labels), device=labels.device)
    scores = compute_logits(training.fit(table, labels, everything, decay), table, test_features)
    return ProbeResult(
        predictions=scores.argmax(1),
        scores=scores,
        strength=decay,
        validation_accuracies=chosen.accuracies,
        choice=chosen.choice,
        fit_statistics={"epochs": float(epochs)},
    )


@dataclass(frozen=True)
class MLPTraining:
    """How an MLP head is trained, apart from its weight decay."""

    num_classes: int
    seed: int
    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float

    def fit(self, table: FeatureTable, labels: Tensor, rows: Tensor, weight_decay: float) -> nn.Module:
        """A head in eval mode, trained on the given rows (n,) of the table and their labels."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            head = mlp_head(table.features.shape[1], self.num_classes, self.hidden).to(labels.device)
        optimiser = torch.optim.AdamW(head.parameters(), lr=self.learning_rate, weight_decay=weight_decay)
        batches = -(-len(rows) // self.batch_size)
        steps = self.epochs * batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, self.learning_rate, total_steps=steps)
        for _ in range(self.epochs):
            shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            for indices in shuffled.tensor_split(batches):
                loss = F.cross_entropy(head(table.standardise(table.features[indices])), labels[indices])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return head.eval()


@torch.no_grad()
def compute_logits(head: nn.Module, table: FeatureTable, features: Tensor) -> Tensor:
    """Logits (M, K) of features (M, D), standardised like the table."""
    return torch.cat([head(table.standardise(x)) for x in features.split(table.chunk)])
