"""Instance discrimination (InstDisc): tell every image of the data set from all others.

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", CVPR 2018. https://arxiv.org/abs/1805.01978

Each image is its own class. Its class vector is its embedding from the last epoch, kept in a memory bank. With
``negatives=None`` the loss is the softmax over all images (equation 2); otherwise noise-contrastive estimation
approximates it with m random negatives (section 3.2). A proximal term slows down embeddings (section 3.3).

Where we differ: the first epoch only fills the bank. The constant Z is a running mean, because the first batch's
estimate is wrong by orders of magnitude once the embeddings have spread out. Runs shorter than the paper's use the
full softmax and no proximal term (like the runs the authors published), because few epochs need no slowing down.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import (
    Batch,
    Count,
    Encoder,
    Method,
    NonNegative,
    Panel,
    Positive,
    ShareBelowOne,
    TrainInfo,
    augment,
    distributed,
)

from ._bank import Bank
from ._contrast import answers_in_first_column, info_nce, nearest_panel
from ._heads import spread

Z_MOMENTUM = 0.9  # share of the old Z that is kept at each batch


class InstDisc(Method):
    """Contrasts each view with its image's vector in the memory bank."""

    year = 2018
    kind = "contrastive"
    Z: Tensor  # the normalising constant; 0 until the first batch
    short_run_settings: ClassVar = {"negatives": None, "temperature": 0.1, "proximal": 0.0}

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        negatives: Count | None = 4096,
        temperature: Positive = 0.07,
        momentum: ShareBelowOne = 0.5,
        proximal: NonNegative = 30.0,
        dim: Annotated[int, Ge(2)] = 128,
    ) -> None:
        super().__init__(encoder, train_info)
        self.negatives, self.temperature, self.proximal = negatives, temperature, proximal
        self.head = nn.Linear(encoder.dim, dim)
        self.bank, self.epochs_before_gradient = Bank(train_info.num_images, dim, momentum), 1.0
        self.register_buffer("Z", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        """Noise-contrastive estimation or the full softmax, plus the proximal term (equations 2, 7 and 10)."""
        f = self.embed(draw_views(batch.images))
        places = None if self.negatives is None else self.bank.draw_from_all(batch.indices, self.negatives)
        cosines = self.bank.cosines(f, batch.indices, places)
        answers = batch.indices if places is None else answers_in_first_column(cosines)
        scores = cosines / self.temperature
        loss = info_nce(scores, answers, self.logged)
        if places is not None:
            self.update_z(scores[:, 1:].detach())
            loss = nce_loss(scores - self.Z.log(), self.train_info.num_images)
        self.newest = batch.indices, f.detach()
        self.logged["spread"] = spread(f)
        change = 2 - 2 * cosines.gather(1, answers.unsqueeze(1))  # squared distance to the bank's vector
        return loss + self.proximal * change.mean()

    def embed(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors f (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def update_z(self, noise_scores: Tensor) -> None:
        """Estimates Z as n times the mean of exp(score) over noise (equation 8), and averages it over batches."""
        estimate = distributed.gather(noise_scores.exp().mean().unsqueeze(0)).mean() * self.train_info.num_images
        self.Z.copy_(torch.where(self.Z > 0, torch.lerp(estimate, self.Z, Z_MOMENTUM), estimate))

    def after_step(self, progress: float) -> None:
        """Stores the batch's embeddings in the bank."""
        self.bank.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, a view with the rank of its own image in the bank, and the nearest other image."""
        views = draw_views(batch.images)
        f = self.embed(views)
        return [
            Panel(title="image", images=batch.images),
            Panel(title="view: rank of its image", images=views, captions=self.bank.rank_captions(f, batch.indices)),
            nearest_panel(batch.images, f),
        ]


def draw_views(images: Tensor) -> Tensor:
    """The paper's views (section 4): crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.colour_jitter(augment.random_resized_crops(images), hue=0.4)


def nce_loss(scores: Tensor, images: int) -> Tensor:
    """log P of the image itself and of m noise draws (N, 1 + m) -> J_NCE, averaged over images (equations 6 and 7)."""
    m = scores.shape[1] - 1
    log_odds = scores - math.log(m / images)  # log of P / (m P_noise); h is its sigmoid
    return -(F.logsigmoid(log_odds[:, 0]) + F.logsigmoid(-log_odds[:, 1:]).sum(1)).mean()
