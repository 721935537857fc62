"""Instance discrimination (InstDisc): tell every image of the data from all others.

Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", CVPR 2018. https://arxiv.org/abs/1805.01978

Each image is a class of its own, and its embedding from the last epoch is its
class vector, kept in a memory bank. The softmax over all images (``negatives``
of None, equation 2) is approximated by noise-contrastive estimation: say which
of 1 + m candidates is no draw from the noise (section 3.2). A proximal term
slows an embedding's moves (section 3.3).

Where we differ: the first epoch only fills the bank. The constant Z is a running
mean, since that of the first batch is off by orders of magnitude once embeddings
have spread out. Shorter runs than the paper's take the full softmax, and no proximal
term (nor do the authors' published runs), since in few epochs nothing has to be slowed.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, distributed, require

from ._bank import Bank
from ._contrast import first_right, info_nce, nearest_panel
from ._heads import spread

KEPT = 0.9  # of the last batches' Z, at each batch


class InstDisc(Method):
    """Contrasts each view with its image's place in the memory bank."""

    checkpoints: ClassVar = {
        "lemniscate_rn50": {
            "url": (
                "https://frontiers.blob.core.windows.net/pretraining/checkpoints/pil_pretrained_models/lemniscate/"
                "lemniscate_resnet50_update.pth"
            ),
            "linear": 0.585,
            "source": "https://github.com/zhirongw/lemniscate.pytorch",
        },
        "vissl_converted": {
            "url": "vissl:converted_vissl_rn50_npid_lemniscate_neg4k_stepLR_8gpu.torch",
            "linear": 0.5499,
        },
        "vissl_200ep": {
            "url": (
                "vissl:npid_1node_200ep_4kneg_npid_8gpu_resnet_23_07_20.9eb36512/model_final_checkpoint_phase199.torch"
            ),
            "linear": 0.5273,
        },
        "vissl_pp_800ep": {
            "url": (
                "vissl:npid_pp/4node_800ep_32kneg_cosine_resnet_23_07_20.75432662/model_final_checkpoint_phase799.torch"
            ),
            "linear": 0.5668,
        },
        "mmselfsup_200ep": {
            "url": (
                "mmselfsup:1.x/npid/npid_resnet50_8xb32-steplr-200e_in1k/"
                "npid_resnet50_8xb32-steplr-200e_in1k_20220825-a67c5440.pth"
            ),
            "linear": 0.583,
        },
    }
    Z: Tensor  # the normalising constant; 0 until the first batch
    short_run_settings: ClassVar = {"negatives": None, "temperature": 0.1, "proximal": 0.0}

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        negatives: int | None = 4096,
        temperature: float = 0.07,
        momentum: float = 0.5,
        proximal: float = 30.0,
        dim: int = 128,
    ) -> None:
        super().__init__(encoder, facts)
        require(negatives is None or negatives >= 1, "instdisc.negatives", negatives, "at least 1, or None for all")
        require(temperature > 0, "instdisc.temperature", temperature, "above 0")
        require(0 <= momentum < 1, "instdisc.momentum", momentum, "from 0 to below 1")
        require(proximal >= 0, "instdisc.proximal", proximal, "0 or more")
        require(dim >= 2, "instdisc.dim", dim, "at least 2")
        self.negatives, self.temperature, self.proximal = negatives, temperature, proximal
        self.head = nn.Linear(encoder.dim, dim)
        self.bank = Bank(facts.images, dim, momentum)
        self.register_buffer("Z", torch.zeros(()))

    def loss(self, batch: Batch) -> Tensor:
        """Noise-contrastive estimation or the full softmax, and the proximal term (equations 2, 7 and 10)."""
        f = self.embedded(view(batch.images))
        places = None if self.negatives is None else self.bank.any_of_all(batch.indices, self.negatives)
        cosines = self.bank.scores(f, batch.indices, places)
        scores, answers = cosines / self.temperature, batch.indices if places is None else first_right(cosines)
        loss = info_nce(scores, answers, self.logged)
        if places is not None:
            self.estimate_z(scores[:, 1:].detach())
            loss = nce(scores - self.Z.log(), self.facts.images)
        self.newest = batch.indices, f.detach()
        self.logged["spread"] = spread(f)
        moved = 2 - 2 * cosines.gather(1, answers.unsqueeze(1))  # the squared distance of unit vectors
        return loss + self.proximal * moved.mean()

    def embedded(self, views: Tensor) -> Tensor:
        """Views (N, 3, S, S) -> unit vectors f (N, dim)."""
        return F.normalize(self.head(self.encoder(views)).float(), dim=1)

    def estimate_z(self, noise: Tensor) -> None:
        """Z is n times the mean of exp over noise (equation 8), a running mean of the batches'."""
        now = distributed.gather(noise.exp().mean().unsqueeze(0)).mean() * self.facts.images
        self.Z.copy_(torch.where(self.Z > 0, torch.lerp(now, self.Z, KEPT), now))

    def after_step(self, progress: float) -> None:
        """The batch's embeddings enter the bank."""
        self.bank.update(*self.newest)

    def panels(self, batch: Batch) -> list[Panel]:
        """Each image, the view whose image is sought in the bank, and the nearest other image."""
        views = view(batch.images)
        f = self.embedded(views)
        return [
            Panel(title="image", images=batch.images),
            Panel(title="a view: of which image?", images=views, captions=self.bank.ranks(f, batch.indices)),
            nearest_panel(batch.images, f),
        ]


def view(images: Tensor) -> Tensor:
    """The paper's views (section 4): crop, mirror, colour jitter, grey; floats (N, 3, S, S)."""
    return augment.recoloured(augment.resized_crops(images), hue=0.4)


def nce(scores: Tensor, images: int) -> Tensor:
    """log P of each image's own and of m noise draws (N, 1 + m) -> J_NCE, averaged over images (equations 6 and 7)."""
    m = scores.shape[1] - 1
    odds = scores - math.log(m / images)  # log of P / (m P_noise); h is its sigmoid
    return -(F.logsigmoid(odds[:, 0]) + F.logsigmoid(-odds[:, 1:]).sum(1)).mean()
