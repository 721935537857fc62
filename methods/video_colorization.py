"""Video colourisation: copy a grey frame's colours from earlier frames, to where they have moved.

Vondrick, Shrivastava, Fathi, Guadarrama and Murphy, "Tracking Emerges by
Colorizing Videos", ECCV 2018. https://arxiv.org/abs/1806.09594

A thing keeps its colour while it moves. Each place of the target frame looks at
all places of some reference frames, softmax over the inner products of their
embeddings, and copies the mix of colours found there (equation 1); to be right,
it must point at what was there before, so tracking emerges. Frames are grey to
the encoder; colours are k-means clusters of a*b* at a quarter of the resolution.

Where we differ: embeddings are linear in the encoder's two deepest taps, without
the paper's 3D convolutions and without their coordinates in space and time;
clusters are found by mini-batch k-means as training goes by instead of
beforehand; a colour that no reference shows is still given a small chance.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench import Batch, Encoder, Method, Panel, TrainInfo, UserError, augment, colour, require

from ._copying import Clusters, chroma, mixed, pointed, surprise
from ._frames import drawn_frames
from ._quarter import QuarterMaps, enlarged, quartered


class VideoColorization(Method):
    """Points from each place of a grey frame at the places of earlier ones that have its colour."""

    needs = frozenset({"clips"})
    input_mode: ClassVar = "lightness"
    views_per_image = 4.0

    def __init__(
        self,
        encoder: Encoder,
        facts: TrainInfo,
        *,
        references: int = 3,
        stride: int = 2,
        colours: int = 16,
        dim: int = 64,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(encoder, facts)
        require(references >= 1, "video_colorization.references", references, "at least 1")
        require(stride >= 1, "video_colorization.stride", stride, "at least 1 frame")
        require(colours >= 2, "video_colorization.colours", colours, "at least 2")
        require(dim >= 1, "video_colorization.dim", dim, "at least 1")
        require(temperature > 0, "video_colorization.temperature", temperature, "above 0")
        self.references, self.stride, self.temperature = references, stride, temperature
        self.views_per_image = float(references + 1)
        self.clusters = Clusters(colours)
        self.heads = nn.ModuleDict({tap: QuarterMaps(encoder.widths[tap], dim) for tap in encoder.taps[-2:]})

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each place's cluster against the clusters copied to it (equation 2)."""
        frames = self.frames(batch)
        clusters = self.clusters(chroma(frames))  # (N, R + 1, P)
        shown = F.one_hot(clusters[:, :-1].flatten(1), len(self.clusters)).float()  # (N, R * P, K)
        copied, truth = mixed(self.attention(frames), shown), clusters[:, -1]
        self.logged["accuracy"] = (copied.argmax(2) == truth).float().mean()
        # What attention to all places alike would cost: the chance level.
        self.logged["uniform"] = surprise(shown.mean(1, keepdim=True).expand_as(copied), truth)
        return surprise(copied, truth)

    def frames(self, batch: Batch) -> Tensor:
        """The batch's clips -> (N, R + 1, 3, S, S): references and then the target, from a start drawn per clip."""
        assert batch.clips is not None
        T = batch.clips.shape[1]
        if self.references >= T:
            raise UserError(
                f"video_colorization.references = {self.references}: clips of {T} frames have no frame left to colour; "
                f"lower it to {T - 1}."
            )
        return drawn_frames(batch.clips, self.references + 1, self.stride)

    def attention(self, frames: Tensor) -> Tensor:
        """Frames (N, R + 1, 3, S, S) -> by how much each place of the last copies from the others' (N, P, R * P)."""
        maps, size = self.encoder.features(frames.flatten(0, 1), self.heads), frames.shape[-1]
        f = sum(head(maps[tap], size) for tap, head in self.heads.items()).unflatten(0, frames.shape[:2])
        f = f.flatten(3).transpose(2, 3)  # (N, R + 1, P, dim)
        return pointed(f[:, -1], f[:, :-1].flatten(1, 2), self.temperature)

    def panels(self, batch: Batch) -> list[Panel]:
        """The last reference, the grey target, the target in the colours copied to it, and the truth."""
        frames = self.frames(batch)
        S, ab = frames.shape[-1], chroma(frames)
        copied = mixed(self.attention(frames), ab[:, :-1].flatten(1, 2))  # (N, P, 2)
        error = (copied - ab[:, -1]).norm(dim=2).mean(1)
        side = quartered(frames[:, 0].float()).shape[-1]
        lightness = colour.lab(frames[:, -1])[:, :1]
        painted = enlarged(copied.transpose(1, 2).unflatten(2, (side, side)), S)
        grey, coloured = (colour.rgb(torch.cat([lightness, c], dim=1)).clamp(0, 1) for c in (0 * painted, painted))
        return [
            Panel(title="reference", images=augment.floats(frames[:, -2])),
            Panel(title="target", images=grey),
            Panel(title="copied colours", images=coloured, captions=tuple(f"ab error {e:.0f}" for e in error.tolist())),
            Panel(title="truth", images=augment.floats(frames[:, -1])),
        ]
