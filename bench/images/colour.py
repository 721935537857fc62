"""Conversions between sRGB and CIE 1976 L*a*b* (D65).

Methods that predict colours and encoders that see only lightness or only chroma use them.
The standards are IEC 61966-2-1 for sRGB and CIE 15:2004 for L*a*b*.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import without_autocast

XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)  # D65, observer of 2 degrees
KNEE = 6 / 29  # below this value a straight line replaces the cube root


@without_autocast
def rgb_to_lab(images: Tensor) -> Tensor:
    """sRGB images (N, 3, H, W), uint8 or in [0, 1] -> L* in [0, 100], a* and b* (N, 3, H, W)."""
    values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    linear = torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055).clamp_min(0) ** 2.4)
    ratios = multiply_pixels(linear, values.new_tensor(XYZ) / values.new_tensor(WHITE).unsqueeze(1))
    f = torch.where(ratios > KNEE**3, ratios.clamp_min(KNEE**3) ** (1 / 3), ratios / (3 * KNEE**2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


@without_autocast
def lab_to_rgb(lab: Tensor) -> Tensor:
    """L*, a*, b* (N, 3, H, W) -> sRGB images in [0, 1]; colours that sRGB cannot show are clipped."""
    L, a, b = lab.float().unbind(1)
    y = (L + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    ratios = torch.where(f > KNEE, f**3, 3 * KNEE**2 * (f - 4 / 29))
    back = torch.linalg.inv(torch.tensor(XYZ, dtype=torch.float64)).float().to(lab.device)
    linear = multiply_pixels(ratios, back * ratios.new_tensor(WHITE)).clamp(0, 1)
    low = linear <= 0.0031308
    return torch.where(low, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def multiply_pixels(images: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies the three values of each pixel by a matrix (3, 3)."""
    return torch.einsum("dc,nchw->ndhw", matrix, images)
