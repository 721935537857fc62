"""Frames taken out of clips."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_frames(clips: Tensor, frames: int, stride: int = 1) -> Tensor:
    """Clips (N, T, 3, S, S) -> (N, frames, 3, S, S), ``stride`` apart or as far as they reach; the first is drawn."""
    N, T = clips.shape[:2]
    stride = min(stride, (T - 1) // max(1, frames - 1))
    start = torch.randint(T - (frames - 1) * stride, (N, 1), device=clips.device)
    places = start + stride * torch.arange(frames, device=clips.device)
    return clips[torch.arange(N, device=clips.device).unsqueeze(1), places]
