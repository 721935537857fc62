"""Tracking: patches at the two ends of a track are closer than patches of other clips.

Wang and Gupta, "Unsupervised Learning of Visual Representations using Videos",
ICCV 2015. https://arxiv.org/abs/1505.00687

What is followed through a film stays the same thing, however it turns. A window
with much motion is tracked; its first and last patch form a pair, and a ranking
loss on the cosine distance D = 1 - cos wants D(x, x+) + margin < D(x, x-). The
patches x- are others of the batch, first random ones and later the nearest.

Where we differ: the paper finds motion with SURF and dense trajectories and
follows it with a KCF tracker; we take what changes once the camera's shift is
undone, and follow the first patch by normalised cross-correlation. To get many
tracks of few clips, the window is drawn among the ``moving`` share with the most
motion, and no clip is left out for moving too little or too much. Mining begins
at ``mine_from`` of the run; overlapping clips of one film count as others. Runs
shorter than the paper's never mine, for the embedding would collapse, and change
patches in colour, for few clips can be told apart by colour alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, augment, require

from ._heads import spread
from ._tracks import framed, pairs


class Tracking(Method):
    """Ranks a track's last patch before those of other clips, seen from its first."""

    needs = frozenset({"clips"})
    short_run_settings: ClassVar = {"hidden": 512, "dim": 128, "mine_from": 1.0, "jitter": 0.8, "grey": 0.2}
    views_per_image = 2.0
    progress: Tensor  # of the run, 0 to 1

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        margin: float = 0.5,
        negatives: int = 4,
        mine_from: float = 0.5,
        hidden: int = 4096,
        dim: int = 1024,
        patch: float = 0.5,
        moving: float = 0.1,
        jitter: float = 0.0,
        grey: float = 0.0,
    ) -> None:
        super().__init__(encoder, facts)
        require(0 < margin <= 2, "tracking.margin", margin, "a cosine distance, above 0 to 2")
        require(negatives >= 1, "tracking.negatives", negatives, "at least 1")
        require(0 <= mine_from <= 1, "tracking.mine_from", mine_from, "a share of the run")
        require(hidden >= 1, "tracking.hidden", hidden, "at least 1")
        require(dim >= 2, "tracking.dim", dim, "at least 2")
        require(0 < patch <= 1, "tracking.patch", patch, "a share of the frame's side, above 0 to 1")
        require(0 < moving <= 1, "tracking.moving", moving, "a share of the windows, above 0 to 1")
        require(0 <= jitter <= 1, "tracking.jitter", jitter, "a probability")
        require(0 <= grey <= 1, "tracking.grey", grey, "a probability")
        self.margin, self.negatives, self.mine_from = margin, negatives, mine_from
        self.patch, self.moving, self.jitter, self.grey = patch, moving, jitter, grey
        self.register_buffer("progress", torch.zeros(()))
        self.head = nn.Sequential(nn.Linear(encoder.dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))

    def loss(self, batch: Batch) -> Tensor:
        """Mean of max(0, D(x, x+) - D(x, x-) + margin) over all pairs and their negatives."""
        assert batch.clips is not None
        patches = pairs(batch.clips, self.patch, self.moving)[0].flatten(0, 1)
        first, last = self.embeddings(augment.recoloured(patches, jitter=self.jitter, grey=self.grey))
        distance = distances(first, last)
        # A short data set may put one clip into a batch twice: no negative of itself.
        number = batch.clips[:, 0].flatten(1).sum(1)
        wrong = number.unsqueeze(1) != number
        score = torch.where(self.progress < self.mine_from, torch.rand_like(distance), -distance.detach())
        chosen = score.masked_fill(~wrong, -torch.inf).topk(min(self.negatives, len(distance) - 1)).indices
        positive, negative = distance.diagonal().unsqueeze(1), distance.gather(1, chosen)
        real = wrong.gather(1, chosen)
        self.logged["spread"] = spread(first)
        self.logged["accuracy"] = ((positive < distance) | ~wrong).all(1).float().mean()
        return (real * F.relu(positive - negative + self.margin)).sum() / real.sum().clamp_min(1)

    def after_step(self, progress: float) -> None:
        """Tells when to begin mining."""
        self.progress.fill_(progress)

    def embeddings(self, patches: Tensor) -> tuple[Tensor, ...]:
        """First patches and then last ones (2 * N, 3, S, S) -> their unit embeddings, (N, dim) each."""
        return F.normalize(self.head(self.encoder(patches)).float(), dim=1).chunk(2)

    def panels(self, batch: Batch) -> list[Panel]:
        """Where the track begins, where it ends, and the pair with its cosine beside that of other patches."""
        assert batch.clips is not None
        patches, corners = pairs(batch.clips, self.patch, self.moving)
        closeness = 1 - distances(*self.embeddings(patches.flatten(0, 1)))
        own = closeness.diagonal()
        others = (closeness.sum(1) - own) / max(1, len(own) - 1)
        told = zip(own.tolist(), others.tolist(), strict=True)
        words = tuple(f"cosine {one:.2f}, to others {other:.2f}" for one, other in told)
        first, last = (framed(batch.clips[:, t], c, self.patch) for t, c in zip((0, -1), corners, strict=True))
        return [
            Panel(title="first frame", images=first),
            Panel(title="last frame, tracked", images=last),
            Panel(title="the two patches", images=torch.cat([*patches], dim=3), captions=words),
        ]


@augment.in_full_precision
def distances(first: Tensor, last: Tensor) -> Tensor:
    """Unit embeddings (N, dim) of first and last patches -> D = 1 - cos of each first with each last (N, N)."""
    return 1 - first @ last.T
