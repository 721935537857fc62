"""The choice between bf16 and fp32."""

from __future__ import annotations

import torch

from sslbench.bench.precision import low_precision


def test_precision_can_be_set() -> None:
    """bf16 and fp32 are used as set; "auto" uses bf16 only where the device supports it."""
    cpu = torch.device("cpu")
    assert low_precision(cpu, "bf16")
    assert not low_precision(cpu, "fp32")
    assert low_precision(cpu) in (True, False)
    assert not low_precision(torch.device("meta"))
