"""Classifiers trained by gradient steps on augmented images, with the encoder frozen or fine-tuned.

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
from ...images.augment import random_flip, random_shift
from .mlp import mlp_head

if TYPE_CHECKING:
    from ..feature_spec import FeatureSpec

BATCH_SIZE = 256  # images per forward pass
EPS = 1e-5  # added to the variance by batch norm


class Classifier(nn.Module):
    """Images (N, 3, H, W) -> logits (N, K): an encoder up to a tap, pooling, batch standardisation and a head."""

    def __init__(
        self,
        encoder: Encoder,
        spec: FeatureSpec,
        features: int,
        num_classes: int,
        *,
        head: str = "linear",
        train_encoder: bool,
    ) -> None:
        """``features`` is D, the number of pooled features; ``head`` is "linear" or "mlp"."""
        super().__init__()
        self.encoder, self.spec, self.train_encoder = encoder.requires_grad_(train_encoder), spec, train_encoder
        top = nn.Linear(features, num_classes) if head == "linear" else mlp_head(features, num_classes)
        self.head = nn.Sequential(nn.BatchNorm1d(features, eps=EPS, affine=False), top)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W)."""
        outputs = self.encoder.features(images, self.spec.sources)
        logits: Tensor = self.head(self.spec.read(outputs, self.encoder))
        return logits

    @torch.no_grad()
    def initialise_head(self, features: Tensor, weights: Tensor, bias: Tensor) -> None:
        """Makes a linear head compute ``features @ weights + bias``, for weights (D, K) and bias (K,).

        The features (n, D) supply the mean and variance of the standardisation before the head. A head that starts at
        random distorts the encoder in the first steps (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
        """
        variance, mean = torch.var_mean(features.float(), 0, correction=0)
        scale = (variance + EPS).sqrt()[:, None]
        statistics = {"0.running_mean": mean, "0.running_var": variance, "0.num_batches_tracked": torch.tensor(0)}
        self.head.load_state_dict(statistics | {"1.weight": (weights * scale).T, "1.bias": bias + mean @ weights})

    def train(self, mode: bool = True) -> Classifier:
        """Switches to training mode; a frozen encoder stays in eval mode, so its batch statistics do not change."""
        super().train(mode)
        self.encoder.train(mode and self.train_encoder)
        return self


def fine_tune(
    build: Callable[[], Classifier],
    images: Images,
    rows: Tensor,
    labels: Tensor,
    *,
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    learning_rate_factor: Callable[[float], float],
    views: int,
    batch_size: int,
    seed: int,
    bf16: bool,
    device: torch.device,
) -> Classifier:
    """Trains a classifier on views of the images at ``rows`` (n,), and returns it in eval mode.

    A view is its image shifted by up to an eighth of the side and mirrored half of the time; training takes
    ``views / batch_size`` steps. ``build`` makes the classifier on the device; ``labels`` (N,) are those of all images;
    ``learning_rate_factor`` maps the progress in [0, 1] to a factor of the optimiser's learning rate. All randomness,
    including the initial weights of the head, comes from the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = max(1, round(views / batch_size))
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = build().train()
        stepper = optimiser([p for p in network.parameters() if p.requires_grad])
        full_rates = [group["lr"] for group in stepper.param_groups]
        for step, chosen in zip(range(steps), endless_batches(rows.cpu(), batch_size, generator), strict=False):
            for group, rate in zip(stepper.param_groups, full_rates, strict=True):
                group["lr"] = rate * learning_rate_factor((step + 0.5) / steps)
            originals = images[chosen].to(device)
            augmented = random_flip(random_shift(originals, max(1, originals.shape[-1] // 8)))
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(network(augmented), labels[chosen].to(device))
            stepper.zero_grad(set_to_none=True)
            loss.backward()
            stepper.step()
    return network.eval()


def endless_batches(rows: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yields batches (batch_size,) of the rows (n,) without end. Every row occurs once, in random order, per epoch."""
    queue = rows[:0]
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, rows[torch.randperm(len(rows), generator=generator)]])
        yield queue[:batch_size]
        queue = queue[batch_size:]


@torch.inference_mode()
def predict_classes(network: Classifier, images: Images, *, bf16: bool, device: torch.device) -> Tensor:
    """The predicted class of each image (N,). Raises UserError where the logits are not finite."""
    predictions = []
    for start in range(0, len(images), BATCH_SIZE):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(images[start : start + BATCH_SIZE].to(device))
        if not torch.isfinite(logits).all():
            raise UserError(
                "the classifier's logits contain NaN or infinite values: lower the learning rate, or check the encoder."
            )
        predictions.append(logits.argmax(1))
    return torch.cat(predictions)
