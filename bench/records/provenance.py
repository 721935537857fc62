"""What a number needs beside it to be measured again: commit, versions, device, memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plugins.discovery import ROOT

if TYPE_CHECKING:
    import torch


def provenance(device: torch.device) -> dict[str, Any]:
    """Commit, versions and device as they are now."""
    return {
        **commit(),
        "versions": {"python": platform.python_version()} | versions("torch", "torchvision", "timm", "numpy", "scipy"),
        "system": platform.platform(),
        "device": device_name(device),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_memory(device: torch.device) -> dict[str, int]:
    """The most bytes that this process has held so far, and on a GPU the most of the GPU's."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device.type != "cuda":
        return {"peak_memory_bytes": most}
    import torch

    return {"peak_memory_bytes": most, "peak_device_memory_bytes": torch.cuda.max_memory_allocated(device)}


@cache
def commit() -> dict[str, Any]:
    """The checkout's commit and whether files differ from it; None outside a checkout."""
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain", "--", "*.py"))}


@cache
def versions(*packages: str) -> dict[str, str]:
    """Installed versions by package."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def device_name(device: torch.device) -> str:
    """A GPU's name, or the processor's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    if device.type == "cpu" and (facts := Path("/proc/cpuinfo")).exists():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{device.type} {platform.machine()}"
