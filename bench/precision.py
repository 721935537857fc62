"""Whether a device computes in bf16."""

from __future__ import annotations

import torch

from .errors import require


def low_precision(device: torch.device, precision: str = "auto") -> bool:
    """Whether the bulk of the work is done in bf16: where it was asked for, or where the device computes in it."""
    require(precision in ("auto", "bf16", "fp32"), "precision", precision, "auto, bf16 or fp32")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
