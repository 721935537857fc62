"""A tracker for clips: picks a moving window in the first frame, and finds it again in each later frame.

All clips of a batch are tracked together, on their device. Windows are squares, and a corner is the
(row, column) of a window's upper left pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbench import augment, without_autocast

GRID = 32  # pixels: larger frames are reduced to this side before they are tracked
CAMERA = 2  # pixels by which camera motion may shift the background from one frame to the next
REACH = 4  # pixels that a window may move from one frame to the next


def cut_track_ends(clips: Tensor, share: float, moving: float) -> tuple[Tensor, Tensor]:
    """Clips (N, T, 3, S, S) -> the first and last patches of a track (2, N, 3, S, S), and their corners (2, N, 2)."""
    corners = track_windows(clips, share, moving)[:, [0, -1]].transpose(0, 1)
    patches = [cut_windows(clips[:, t], places, share) for t, places in zip((0, -1), corners, strict=True)]
    return torch.stack(patches), corners


@torch.no_grad()
@without_autocast
def track_windows(clips: Tensor, share: float, moving: float) -> Tensor:
    """Clips (N, T, 3, S, S) -> corners (N, T, 2) of one window per clip in each frame, as shares of the frame's side.

    ``share`` is the window's side as a share of the frame's. The window is drawn at random among the windows with
    the most motion; these are the share ``moving`` of all windows.
    """
    N, T, _, S, _ = clips.shape
    side = min(S, GRID)
    frames = augment.to_float(clips)
    if side < S:
        frames = F.interpolate(frames.flatten(0, 1), size=(side, side), mode="area").reshape(N, T, 3, side, side)
    window = max(1, round(side * share))
    motion = box_means(motion_energy(frames[:, 0], frames[:, 1]), window)
    energies = motion.flatten(1)
    count = max(1, round(energies.shape[1] * moving))
    best = energies.topk(count).indices
    drawn = best.gather(1, torch.randint(count, (N, 1), device=clips.device)).squeeze(1)
    corners = [torch.stack([drawn // motion.shape[2], drawn % motion.shape[2]], dim=1)]
    scores = match_scores(frames, corners[0], window)  # (N, T, places, places)
    places = torch.arange(scores.shape[-1], device=clips.device)
    for t in range(1, T):
        near = (places - corners[-1].unsqueeze(2)).abs() <= REACH  # (N, 2, places)
        reachable = near[:, 0, :, None] & near[:, 1, None, :]
        place = scores[:, t].masked_fill(~reachable, -torch.inf).flatten(1).argmax(1)
        corners.append(torch.stack([place // len(places), place % len(places)], dim=1))
    return torch.stack(corners, dim=1) / side


def motion_energy(first: Tensor, second: Tensor) -> Tensor:
    """Frames (N, 3, s, s) -> how much each pixel changes (N, s, s) after the camera's motion is compensated.

    The camera's motion is taken to be the shift by whole pixels that leaves the smallest mean change, with each
    pixel's change capped.
    """
    N, _, s, _ = first.shape
    grey = first.new_tensor(augment.LUMA_WEIGHTS).view(3, 1, 1)
    before, after = (first * grey).sum(1), (second * grey).sum(1)
    shifts = F.pad(after.unsqueeze(1), (CAMERA,) * 4, mode="replicate").squeeze(1).unfold(1, s, 1).unfold(2, s, 1)
    change = (shifts - before[:, None, None]).abs().flatten(1, 2)  # (N, shifts, s, s)
    inner = change[..., CAMERA : s - CAMERA, CAMERA : s - CAMERA]
    # The cap keeps moving objects from outweighing the background.
    camera = inner.clamp(max=0.05).mean((2, 3)).argmin(1)
    return change[torch.arange(N, device=first.device), camera]


def match_scores(frames: Tensor, corners: Tensor, window: int) -> Tensor:
    """Frames (N, T, 3, s, s), corners (N, 2) in the first -> normalised cross-correlation (N, T, places, places).

    The window of the first frame is correlated with every window of every frame, over all three channels.
    """
    N, _, C, s, _ = frames.shape
    within = torch.arange(window, device=frames.device)
    rows, columns = (corners.unsqueeze(2) + within).unbind(1)  # (N, window)
    item, channel = (torch.arange(n, device=frames.device) for n in (N, C))
    template = frames[item.view(N, 1, 1, 1), 0, channel.view(C, 1, 1), rows[:, None, :, None], columns[:, None, None]]
    template = template - template.mean((1, 2, 3), keepdim=True)
    template = template / template.flatten(1).norm(dim=1).clamp_min(1e-6).view(N, 1, 1, 1)
    spectra = torch.fft.rfft2(frames), torch.fft.rfft2(template, s=(s, s))
    places = s - window + 1  # beyond them the window would wrap around the frame
    spectrum = (spectra[0] * spectra[1].conj().unsqueeze(1)).sum(2)
    product: Tensor = torch.fft.irfft2(spectrum, s=(s, s))[..., :places, :places]
    mean, square = box_means(frames.mean(2), window), box_means(frames.square().mean(2), window)
    return product / ((square - mean.square()).clamp_min(1e-6) * (C * window * window)).sqrt()


def box_means(values: Tensor, window: int) -> Tensor:
    """(..., s, s) -> the mean of each square window (..., places, places), computed as two matrix products."""
    s = values.shape[-1]
    apart = torch.arange(s, device=values.device) - torch.arange(s - window + 1, device=values.device).unsqueeze(1)
    box = ((apart >= 0) & (apart < window)).to(values.dtype) / window  # (places, s)
    return box @ values @ box.T


@without_autocast
def cut_windows(images: Tensor, corners: Tensor, share: float) -> Tensor:
    """Images (N, 3, S, S), corners (N, 2) as shares of S -> the windows, enlarged to side S: floats (N, 3, S, S)."""
    centres = 2 * (corners + share / 2) - 1
    zero, scale = torch.zeros_like(centres[:, 0]), torch.full_like(centres[:, 0], share)
    affine = torch.stack([scale, zero, centres[:, 1], zero, scale, centres[:, 0]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(augment.to_float(images), grid, mode="bilinear", padding_mode="border", align_corners=False)


def outline_windows(images: Tensor, corners: Tensor, share: float) -> Tensor:
    """Images (N, 3, S, S) -> floats with a red border, 1 pixel wide, along each window with its corner at (N, 2)."""
    images, S = augment.to_float(images), images.shape[-1]
    low, high = (corners * S).round().unsqueeze(2), ((corners + share) * S).round().unsqueeze(2) - 1
    steps = torch.arange(S, device=images.device)
    within, edge = (steps >= low) & (steps <= high), (steps == low) | (steps == high)  # (N, 2, S)
    border = (edge[:, 0, :, None] & within[:, 1, None, :]) | (within[:, 0, :, None] & edge[:, 1, None, :])
    return torch.where(border.unsqueeze(1), images.new_tensor([1.0, 0.0, 0.0]).view(3, 1, 1), images)
