"""Says in one line why a checkpoint file does not fit an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..encoders import BATCH_NORM_COUNTER, Encoder
from .match import Match

MAX_NAMES = 3  # of a list in an error message


def mismatch_message(path: Path, groups: Mapping[str, dict[str, Tensor]], best: Match | None, encoder: Encoder) -> str:
    """Why a file does not fit an encoder, in one line: the fraction that matches, and the names that do not."""
    start = f"{path}: these weights do not fit the encoder"
    if best is None or not best.tensors:
        keys = max(groups.values(), key=len)
        wanted = [name for name in encoder.state_dict() if not name.endswith(BATCH_NORM_COUNTER)]
        return (
            f"{start}: 0 % of {network_name(encoder)}'s tensors matched; "
            f"missing: {shorten_list(wanted)}; in the file: {shorten_list(list(keys))}."
        )
    parts = [
        f"{label} {shorten_list(names)}"
        for label, names in (
            ("missing:", best.missing),
            ("of another shape:", best.wrong_shapes),
            ("not of this encoder:", best.unexpected or (best.left_out if best.missing else [])),
        )
        if names
    ]
    matched = f"{100 * best.share:.1f} % of {network_name(encoder)}'s tensors matched"
    under = f" under {best.prefix!r}" if best.prefix else ""
    hint = " Some of its names lack a part of the prefix." if lost_prefix(best, groups[best.container]) else ""
    return f"{start}: {matched}{under}; {'; '.join(parts)}.{hint}"


def lost_prefix(match: Match, tensors: Mapping[str, Tensor]) -> bool:
    """Whether each missing tensor is in the dictionary under only the end of the prefix."""
    parts = match.prefix.split(".")
    shorter = [".".join(parts[start:]) for start in range(1, len(parts))]
    return bool(match.missing) and all(any(end + name in tensors for end in shorter) for name in match.missing)


def network_name(encoder: Encoder) -> str:
    """The name of the encoder's class, or of the class of the library's network that it wraps."""
    network = getattr(encoder, "network", None)
    return type(network).__name__ if isinstance(network, nn.Module) else type(encoder).__name__


def shorten_list(names: list[str]) -> str:
    """The first few names, and how many there are if that is not all."""
    return ", ".join(names[:MAX_NAMES]) + (f" … ({len(names)} in all)" if len(names) > MAX_NAMES else "")


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape for a message: "64 x 3 x 7 x 7"."""
    return " x ".join(map(str, shape)) or "one number"
