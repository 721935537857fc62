"""Video colourisation: colour a grey frame by copying the colours of earlier frames.

Vondrick, Shrivastava, Fathi, Guadarrama and Murphy, "Tracking Emerges by
Colorizing Videos", ECCV 2018. https://arxiv.org/abs/1806.09594

Objects keep their colours while they move. Each place of the target frame attends
to all places of some reference frames, with a softmax over inner products of
embeddings, and copies the weighted mean of their colours (equation 1). To copy the
right colour it must attend to the same object in the references, so the network
learns to track. The encoder sees lightness only. Colours are k-means clusters of
a*b*, at a quarter of the image's resolution.

Where we differ: embeddings are linear in the encoder's two deepest taps, without
the paper's 3D convolutions and coordinates in space and time. The clusters are
found by mini-batch k-means during training, not before it. A colour that is in no
reference still gets a small probability.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslbench import Batch, Count, Encoder, Method, Panel, Positive, TrainInfo, UserError, augment, colour

from ._copying import ColourClusters, attention_weights, copy_cross_entropy, copy_values, quarter_chroma
from ._frames import draw_frames
from ._quarter import QuarterMaps, average_to_quarter, enlarge


class VideoColorization(Method):
    """Attends from each place of a grey frame to places of earlier frames, and copies their colours."""

    year = 2018
    kind = "video"
    needs = frozenset({"clips"})
    input_mode: ClassVar = "lightness"
    views_per_image = 4.0

    def __init__(
        self,
        encoder: Encoder,
        train_info: TrainInfo,
        *,
        references: Count = 3,
        stride: Count = 2,  # frames from one reference to the next
        colours: Annotated[int, Ge(2)] = 16,
        dim: Count = 64,
        temperature: Positive = 1.0,
    ) -> None:
        super().__init__(encoder, train_info)
        self.references, self.stride, self.temperature = references, stride, temperature
        self.views_per_image = float(references + 1)
        self.clusters = ColourClusters(colours)
        self.heads = nn.ModuleDict({tap: QuarterMaps(encoder.widths[tap], dim) for tap in encoder.taps[-2:]})

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of each place's colour cluster and the copied clusters (equation 2)."""
        frames = self.draw_frames(batch)
        clusters = self.clusters(quarter_chroma(frames))  # (N, R + 1, P)
        shown = F.one_hot(clusters[:, :-1].flatten(1), len(self.clusters)).float()  # (N, R * P, K)
        copied, truth = copy_values(self.attention(frames), shown), clusters[:, -1]
        self.logged["accuracy"] = (copied.argmax(2) == truth).float().mean()
        # The loss of equal attention to all places: the chance level.
        self.logged["uniform"] = copy_cross_entropy(shown.mean(1, keepdim=True).expand_as(copied), truth)
        return copy_cross_entropy(copied, truth)

    def draw_frames(self, batch: Batch) -> Tensor:
        """References and then the target of each of the batch's clips, from a random start (N, R + 1, 3, S, S).

        Raises UserError if the clips have too few frames.
        """
        assert batch.clips is not None
        T = batch.clips.shape[1]
        if self.references >= T:
            raise UserError(
                f"video_colorization.references = {self.references}: clips of {T} frames have no frame left to colour; "
                f"lower it to {T - 1}."
            )
        return draw_frames(batch.clips, self.references + 1, self.stride)

    def attention(self, frames: Tensor) -> Tensor:
        """Frames (N, R + 1, 3, S, S) -> attention of the last frame's places to those of the others (N, P, R * P)."""
        maps, size = self.encoder.features(frames.flatten(0, 1), self.heads), frames.shape[-1]
        f = sum(head(maps[tap], size) for tap, head in self.heads.items()).unflatten(0, frames.shape[:2])
        f = f.flatten(3).transpose(2, 3)  # (N, R + 1, P, dim)
        return attention_weights(f[:, -1], f[:, :-1].flatten(1, 2), self.temperature)

    def panels(self, batch: Batch) -> list[Panel]:
        """The last reference, the grey target, the target with the copied colours, and the true target."""
        frames = self.draw_frames(batch)
        S, ab = frames.shape[-1], quarter_chroma(frames)
        copied = copy_values(self.attention(frames), ab[:, :-1].flatten(1, 2))  # (N, P, 2)
        error = (copied - ab[:, -1]).norm(dim=2).mean(1)
        side = average_to_quarter(frames[:, 0].float()).shape[-1]
        lightness = colour.rgb_to_lab(frames[:, -1])[:, :1]
        painted = enlarge(copied.transpose(1, 2).reshape(-1, 2, side, side), S)
        grey, coloured = (
            colour.lab_to_rgb(torch.cat([lightness, c], dim=1)).clamp(0, 1) for c in (0 * painted, painted)
        )
        return [
            Panel(title="last reference frame", images=augment.to_float(frames[:, -2])),
            Panel(title="target frame: which colours?", images=grey),
            Panel(title="copied colours", images=coloured, captions=tuple(f"ab error {e:.0f}" for e in error.tolist())),
            Panel(title="true colours", images=augment.to_float(frames[:, -1])),
        ]
