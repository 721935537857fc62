"""The three-layer classifier of the lecture's tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UserError, require
from .linear import Probe
from .rows import Table, check, training_part


def mlp_head(features: int, classes: int, hidden: int = 200) -> nn.Sequential:
    """Two hidden layers with batch norm and ReLU, and an output: (N, features) -> (N, classes)."""
    layers = [nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers += [nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*layers)


def mlp_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    classes: int,
    *,
    strengths: Sequence[float] = (1e-2,),
    held_out: float = 0.1,
    seed: int = 0,
    hidden: int = 200,
    epochs: int = 20,
    batch: int = 256,
    lr: float = 2e-3,
) -> Probe:
    """Gidaris et al. 2018's non-linear classifier: two hidden layers with batch norm and ReLU, AdamW, a fixed budget.

    The strength is the weight decay; of several, one is chosen on a held-out part of train, and the classifier is then
    trained anew on all of train. What is held out has no part in mean and scale until then.
    """
    labels = check(train_features, train_labels, classes)
    check(test_features)
    require(min(epochs, batch, hidden) >= 1, "epochs, batch, hidden", (epochs, batch, hidden), "1 or more each")
    if int(labels.min()) == int(labels.max()):
        raise UserError("All training images have the same label: a classifier needs two classes at least.")
    table = Table(train_features, standardise=True)

    def trained(table: Table, rows: Tensor, decay: float) -> nn.Module:
        """A classifier trained on these rows (n,) of the table."""
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = mlp_head(table.features.shape[1], classes, hidden).to(labels.device)
        optimiser = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=decay)
        batches = -(-len(rows) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * batches)
        for _ in range(epochs):
            shuffled = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            for indices in shuffled.tensor_split(batches):
                loss = F.cross_entropy(head(table.prepare(table.features[indices])), labels[indices])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        return head.eval()

    @torch.no_grad()
    def scores_of(head: nn.Module, table: Table, features: Tensor) -> Tensor:
        return torch.cat([head(table.prepare(x)) for x in features.split(table.chunk)])

    decays = torch.as_tensor(strengths, dtype=torch.float64)
    validation, best = torch.full((len(decays),), torch.nan, dtype=torch.float64), 0
    if len(decays) > 1:
        keep = training_part(labels, held_out, seed)
        rows, rest = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
        part = Table(train_features, standardise=True, keep=keep)
        for i, decay in enumerate(decays.tolist()):
            right = scores_of(trained(part, rows, decay), part, train_features[rest]).argmax(1) == labels[rest]
            validation[i] = right.double().sum() / max(1, len(rest))
        best = int(decays.masked_fill(validation < validation.max(), -torch.inf).argmax())
    everything = torch.arange(len(labels), device=labels.device)
    scores = scores_of(trained(table, everything, float(decays[best])), table, test_features)
    return Probe(scores.argmax(1), scores, float(decays[best]), validation, {"epochs": float(epochs)})
