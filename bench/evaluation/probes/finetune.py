"""Classifiers taught by gradient steps on views of the images: the encoder learns too, or stays as it is.

N images, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Images
from ...encoders import Encoder
from ...errors import UserError
from ...images.augment import flip_some, shifted
from .mlp import mlp_head

if TYPE_CHECKING:
    from ..representation import FeatureSpec

BATCH = 256  # images a forward pass
EPS = 1e-5  # that batch norm adds to a variance


class Classifier(nn.Module):
    """An encoder up to a tap, pooled and standardised by the batch, and a head on it: images -> logits (N, K)."""

    def __init__(
        self, encoder: Encoder, spec: FeatureSpec, features: int, classes: int, *, head: str = "linear", tuned: bool
    ) -> None:
        """``features``: length of the features; ``head``: "linear" or "mlp"; ``tuned``: the encoder learns too."""
        super().__init__()
        self.encoder, self.spec, self.tuned = encoder.requires_grad_(tuned), spec, tuned
        top = nn.Linear(features, classes) if head == "linear" else mlp_head(features, classes)
        self.head = nn.Sequential(nn.BatchNorm1d(features, eps=EPS, affine=False), top)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W)."""
        return self.head(self.spec.pooled(self.encoder.features(images, [self.spec.tap])[self.spec.tap]))

    @torch.no_grad()
    def begin(self, features: Tensor, weights: Tensor, bias: Tensor) -> None:
        """Sets a linear head to answer like weights (D, K) and bias (K,) on features (n, D) not yet standardised.

        Kumar et al. 2022: a head that starts at random spoils the encoder before it has learnt anything.
        https://arxiv.org/abs/2202.10054
        """
        variance, mean = torch.var_mean(features.float(), 0, correction=0)
        scale = (variance + EPS).sqrt()[:, None]
        began = {"0.running_mean": mean, "0.running_var": variance, "0.num_batches_tracked": torch.tensor(0)}
        self.head.load_state_dict(began | {"1.weight": (weights * scale).T, "1.bias": bias + mean @ weights})

    def train(self, mode: bool = True) -> Classifier:
        """Also batch statistics of an encoder that does not learn stay as they are."""
        super().train(mode)
        self.encoder.train(mode and self.tuned)
        return self


def taught(
    build: Callable[[], Classifier],
    images: Images,
    rows: Tensor,
    labels: Tensor,
    *,
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    rate: Callable[[float], float],
    views: int,
    batch: int,
    seed: int,
    low: bool,
    device: torch.device,
) -> Classifier:
    """A classifier taught by so many light views of the images at ``rows``, moved by up to an eighth, mirrored or not.

    ``build`` makes it on the device; ``labels`` (N,) are those of all images; ``rate`` gives the share of the learning
    rate at a progress in [0, 1]; ``low`` computes in bf16. All randomness, the head's first weights too, is the seed's.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = max(1, round(views / batch))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = build().train()
        descent = optimiser([p for p in network.parameters() if p.requires_grad])
        full = [group["lr"] for group in descent.param_groups]
        for step, chosen in zip(range(steps), endless(rows.cpu(), batch, generator), strict=False):
            for group, lr in zip(descent.param_groups, full, strict=True):
                group["lr"] = lr * rate((step + 0.5) / steps)
            originals = images[chosen].to(device)
            seen = flip_some(shifted(originals, max(1, originals.shape[-1] // 8)))
            with torch.autocast(device.type, torch.bfloat16, enabled=low):
                loss = F.cross_entropy(network(seen), labels[chosen].to(device))
            descent.zero_grad(set_to_none=True)
            loss.backward()
            descent.step()
    return network.eval()


def endless(rows: Tensor, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Whole batches (batch,) of the rows (n,): all in a new order before any comes again, however few there are."""
    queue = rows[:0]
    while True:
        while len(queue) < batch:
            queue = torch.cat([queue, rows[torch.randperm(len(rows), generator=generator)]])
        yield queue[:batch]
        queue = queue[batch:]


@torch.inference_mode()
def answers(network: Classifier, images: Images, *, low: bool, device: torch.device) -> Tensor:
    """Classes (N,) of the images; raises UserError where the network gives no numbers."""
    found = []
    for start in range(0, len(images), BATCH):
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            logits = network(images[start : start + BATCH].to(device))
        if not torch.isfinite(logits).all():
            raise UserError(
                "The classifier gives NaN or infinite numbers: teach it at a lower rate, or look at the encoder."
            )
        found.append(logits.argmax(1))
    return torch.cat(found)
