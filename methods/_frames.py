"""Random frames of video clips."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_frames(clips: Tensor, frames: int, stride: int = 1) -> Tensor:
    """Clips (N, T, 3, S, S) -> ``frames`` frames of each, in order, from a random start (N, frames, 3, S, S).

    They are ``stride`` apart, or closer if the clip is too short for that.
    """
    N, T = clips.shape[:2]
    stride = min(stride, (T - 1) // max(1, frames - 1))
    start = torch.randint(T - (frames - 1) * stride, (N, 1), device=clips.device)
    places = start + stride * torch.arange(frames, device=clips.device)
    return clips[torch.arange(N, device=clips.device).unsqueeze(1), places]
