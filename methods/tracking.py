"""Tracking: the first and last patch of a track in a video must be closer than patches of other clips.

Wang and Gupta, "Unsupervised Learning of Visual Representations using Videos",
ICCV 2015. https://arxiv.org/abs/1505.00687

An object that is tracked through a video stays the same object, however its pose
and appearance change. A window with much motion is tracked; its first and last
patch form a pair (x, x+). A ranking loss on the cosine distance D = 1 - cos requires
D(x, x+) + margin < D(x, x-). The negatives x- are patches of other clips in the
batch: at first random ones, later the nearest (hard negative mining).

Where we differ: the paper finds motion with SURF and dense trajectories and tracks
with KCF. We compensate the camera's shift, take what still changes, and track it by
normalised cross-correlation. To get many tracks from few clips, the window is drawn
among the share ``moving`` with the most motion, and no clip is excluded for moving
too little or too much. Mining begins at the share ``mine_from`` of the run, and
overlapping clips of one video count as different clips. Runs shorter than the
paper's do not mine, since the embedding would collapse, and augment the patches'
colours, since few clips can be distinguished by their colours alone.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, PositiveShare, Share, TrainInfo, augment, without_autocast

from ._heads import spread
from ._tracks import cut_track_ends, outline_windows


class Tracking(Method):
    """Ranks the last patch of a track before patches of other clips, by distance to the track's first patch."""

    year = 2015
    kind = "video"
    needs = frozenset({"clips"})
    short_run_settings: ClassVar = {"hidden": 512, "dim": 128, "mine_from": 1.0, "jitter": 0.8, "grey": 0.2}
    views_per_image = 2.0
    progress: Tensor  # of the run, 0 to 1

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        margin: Annotated[float, Interval(gt=0, le=2)] = 0.5,
        negatives: Count = 4,
        mine_from: Share = 0.5,
        hidden: Count = 4096,
        dim: Annotated[int, Ge(2)] = 1024,
        patch: PositiveShare = 0.5,  # of the frame's side
        moving: PositiveShare = 0.1,
        jitter: Share = 0.0,  # the probability of changing colours
        grey: Share = 0.0,
    ) -> None:
        super().__init__(encoder, train_info)
        self.margin, self.negatives, self.mine_from = margin, negatives, mine_from
        self.patch, self.moving, self.jitter, self.grey = patch, moving, jitter, grey
        self.register_buffer("progress", torch.zeros(()))
        self.head = nn.Sequential(nn.Linear(encoder.dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))

    def loss(self, batch: Batch) -> Tensor:
        """Mean of max(0, D(x, x+) - D(x, x-) + margin) over all pairs and their negatives."""
        assert batch.clips is not None
        patches = cut_track_ends(batch.clips, self.patch, self.moving)[0].flatten(0, 1)
        first, last = self.embed(augment.colour_jitter(patches, jitter=self.jitter, grey=self.grey))
        distance = cosine_distances(first, last)
        # A batch may contain a clip twice if there are few clips; it must not be its own negative.
        identity = batch.clips[:, 0].flatten(1).sum(1)
        wrong = identity.unsqueeze(1) != identity
        score = torch.where(self.progress < self.mine_from, torch.rand_like(distance), -distance.detach())
        chosen = score.masked_fill(~wrong, -torch.inf).topk(min(self.negatives, len(distance) - 1)).indices
        positive, negative = distance.diagonal().unsqueeze(1), distance.gather(1, chosen)
        real = wrong.gather(1, chosen)
        self.logged["spread"] = spread(first)
        self.logged["accuracy"] = ((positive < distance) | ~wrong).all(1).float().mean()
        return (real * F.relu(positive - negative + self.margin)).sum() / real.sum().clamp_min(1)

    def after_step(self, progress: float) -> None:
        """Keeps the progress, which decides when mining begins."""
        self.progress.fill_(progress)

    def embed(self, patches: Tensor) -> tuple[Tensor, ...]:
        """First patches and then last patches (2 N, 3, S, S) -> unit embeddings of either, (N, dim) each."""
        return F.normalize(self.head(self.encoder(patches)).float(), dim=1).chunk(2)

    def panels(self, batch: Batch) -> list[Panel]:
        """Where the track begins and ends, and the pair of patches with its cosine and the mean cosine to others."""
        assert batch.clips is not None
        patches, corners = cut_track_ends(batch.clips, self.patch, self.moving)
        cosines = 1 - cosine_distances(*self.embed(patches.flatten(0, 1)))
        own = cosines.diagonal()
        others = (cosines.sum(1) - own) / max(1, len(own) - 1)
        pairs = zip(own.tolist(), others.tolist(), strict=True)
        captions = tuple(f"cosine {one:.2f},\nto other clips {other:.2f}" for one, other in pairs)
        first, last = (outline_windows(batch.clips[:, t], c, self.patch) for t, c in zip((0, -1), corners, strict=True))
        return [
            Panel(title="first frame", images=first),
            Panel(title="last frame, tracked", images=last),
            Panel(title="first and last patch", images=torch.cat([*patches], dim=3), captions=captions),
        ]


@without_autocast
def cosine_distances(first: Tensor, last: Tensor) -> Tensor:
    """Unit embeddings (N, dim) of first and last patches -> D = 1 - cos of each first with each last patch (N, N)."""
    return 1 - first @ last.T
