"""The code and the machine that measure now: commit, versions, device and memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ..plugins.discovery import ROOT
from .record import Provenance

if TYPE_CHECKING:
    import torch


def current_provenance(device: torch.device, precision: str | None = None) -> Provenance:
    """Commit, versions, device and number of threads at this moment."""
    import torch

    commit, dirty = checkout()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions={"python": platform.python_version()}
        | installed_versions("torch", "torchvision", "timm", "numpy", "scipy"),
        system=platform.platform(),
        device=device_name(device),
        precision=precision,
        threads=torch.get_num_threads(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def peak_memory(device: torch.device) -> dict[str, int]:
    """The most bytes that this process has held so far, where the system says so, and on a GPU the most of its memory.

    The names are those of `Cost`.
    """
    memory = {}
    try:
        import resource  # not on Windows

        unit = 1 if sys.platform == "darwin" else 1024
        memory["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:
        pass
    if device.type == "cuda":
        import torch

        memory["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return memory


@cache
def checkout() -> tuple[str | None, bool | None]:
    """The checkout's commit and whether files differ from it; None outside a checkout and without git."""
    if not (ROOT / ".git").exists():
        return None, None

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    try:
        return git("rev-parse", "HEAD") or None, bool(git("status", "--porcelain", "--", "*.py"))
    except OSError:  # git is not installed
        return None, None


@cache
def installed_versions(*packages: str) -> dict[str, str]:
    """Versions by package; packages that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def device_name(device: torch.device) -> str:
    """The name of a GPU or of the processor."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    if device.type == "cpu" and (info := Path("/proc/cpuinfo")).exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{device.type} {platform.machine()}"
