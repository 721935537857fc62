"""Finds an encoder's tensors in a checkpoint file, whatever program wrote it.

Each dictionary of tensors in the file is compared with the encoder's state dict. Programs put different prefixes in
front of the names, so every prefix is tried that one of the encoder's names has in the dictionary; libraries name the
same tensors differently, so each of the encoder's key mappings is tried too. A match must be complete, or the file is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ..encoders import BATCH_NORM_COUNTER, Encoder
from ..errors import UserError

DAMAGED_SHARE = 0.25  # a place with more of an encoder's tensors than this holds the encoder, but damaged
MAX_NAMES = 3  # of a list in an error message

CONTAINERS = (
    *("classy_state_dict.base_model.model.trunk", "model_state_dict", "state_dict", "teacher", "model", "network"),
    "",
)
"""Dotted paths of the dictionaries that hold weights, in order of preference: a teacher is preferred to its student."""

PREFIXES = (
    *("module.encoder_q.", "module.base_encoder.", "module.encoder1.", "module.encoder.", "module.backbone."),
    *("_feature_blocks.", "base_model._feature_blocks.", "features.module.", "features.", "module.", "backbone.vit."),
    *("backbone.", "encoder.", "base_encoder.", ""),
)
"""Known prefixes of an encoder's names, in order of preference."""


@dataclass(frozen=True)
class Match:
    """How well one dictionary of a file, read with one prefix and one key mapping, matches an encoder."""

    container: str
    prefix: str
    tensors: dict[str, Tensor]  # those that match, by the encoder's own names
    missing: list[str]  # names in the file's spelling, without the prefix
    wrong_shapes: list[str]  # the same, each with both shapes
    unexpected: list[str]  # names among the encoder's modules that the encoder does not have
    left_out: list[str]  # all other names: heads, queues, other encoders

    @property
    def complete(self) -> bool:
        """Whether the tensors are exactly those of the encoder."""
        return not (self.missing or self.wrong_shapes or self.unexpected)

    @property
    def share(self) -> float:
        """Fraction of the encoder's tensors that match in name and shape."""
        wanted = len(self.tensors) + len(self.missing) + len(self.wrong_shapes)
        return len(self.tensors) / wanted if wanted else 1.0

    @property
    def layout(self) -> dict[str, str | list[str]]:
        """Where in the file the encoder is, for a record; empty if the file is the encoder's state dict."""
        names = [name.removeprefix(self.prefix) if self.prefix else name for name in self.left_out]
        beginnings = sorted({".".join(name.split(".")[:2]) for name in names})
        layout: dict[str, str | list[str]] = {
            "container": self.container,
            "prefix": self.prefix,
            "left_out": beginnings,
        }
        return {key: value for key, value in layout.items() if value}


@dataclass
class SearchResult:
    """The best match of an encoder in a file, and other complete matches between which nothing decides."""

    best: Match | None = None
    rivals: list[Match] = field(default_factory=list)


def find_match(path: Path, groups: Mapping[str, dict[str, Tensor]], encoder: Encoder) -> Match:
    """The complete match; raises UserError if there is none or several, with what is missing and what is there."""
    result = search_file(groups, encoder)
    best = result.best
    if best is None or not best.complete:
        raise UserError(f"{mismatch_message(path, groups, best, encoder)} Choose the encoder that it was made with.")
    if result.rivals:
        places = " and ".join(repr(f"{match.container}: {match.prefix}") for match in (best, *result.rivals)[:2])
        raise UserError(
            f"{path}: two encoders in it fit equally well, at {places}; save the one you mean in a file of its own."
        )
    return best


def search_file(groups: Mapping[str, dict[str, Tensor]], encoder: Encoder) -> SearchResult:
    """Compares the encoder with every place in a file, likely ones first.

    The first complete match at a known prefix ends the search.
    """
    result = SearchResult()
    for container in sorted(groups, key=lambda name: preference(name, CONTAINERS)):
        for match in possible_matches(container, groups[container], encoder):
            best = result.best
            if match.complete and match.prefix in PREFIXES and not (best and best.complete):
                return SearchResult(match)
            if match.complete and best and best.complete:
                result.rivals.append(match)
            elif match.complete and best and best.share > DAMAGED_SHARE:
                continue  # a complete encoder at an unknown prefix does not replace a damaged one at a known prefix
            elif best is None or (match.complete, match.share) > (best.complete, best.share):
                result.best = match
        if result.best and result.best.share > DAMAGED_SHARE:
            break  # a less likely dictionary does not replace this one
    return result


def possible_matches(container: str, tensors: Mapping[str, Tensor], encoder: Encoder) -> Iterator[Match]:
    """A match for each key mapping and each prefix under which a name of the encoder occurs, known prefixes first."""
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    for mapping in encoder.key_mappings():
        own_names = {map_key(name, mapping): name for name in shapes}
        needed = [name for name in own_names if not name.endswith(BATCH_NORM_COUNTER)]
        if not needed:
            yield Match(container, "", {}, [], [], [], list(tensors))
            continue
        anchors = {needed[0], needed[len(needed) // 2], needed[-1]}
        prefixes = {
            key.removesuffix(anchor) for key in tensors for anchor in anchors if f".{key}".endswith(f".{anchor}")
        }
        for prefix in sorted(prefixes, key=lambda name: preference(name, PREFIXES)):
            yield match_tensors(container, prefix, tensors, own_names, shapes)


def match_tensors(
    container: str,
    prefix: str,
    tensors: Mapping[str, Tensor],
    own_names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
) -> Match:
    """Compares one dictionary, read with one prefix, with the encoder tensor by tensor.

    ``own_names`` maps names in the file's spelling to the encoder's own, ``shapes`` maps the latter to shapes.
    """
    found, missing, wrong_shapes = {}, [], []
    for name, own_name in own_names.items():
        value = tensors.get(prefix + name)
        if value is None:
            missing += [name] * (not name.endswith(BATCH_NORM_COUNTER))
        elif value.shape != shapes[own_name]:
            wrong_shapes.append(f"{name} ({format_shape(value.shape)}, expected {format_shape(shapes[own_name])})")
        else:
            found[own_name] = value
    modules = {name.partition(".")[0] for name in own_names}
    unexpected: list[str] = []
    left_out: list[str] = []
    for key in tensors:
        name = key.removeprefix(prefix)
        if not key.startswith(prefix):
            left_out.append(key)
        elif name not in own_names:
            among_own = name.partition(".")[0] in modules and not key.endswith(BATCH_NORM_COUNTER)
            (unexpected if among_own else left_out).append(key)
    return Match(container, prefix, found, missing, wrong_shapes, unexpected, left_out)


def map_key(name: str, mapping: Mapping[str, str]) -> str:
    """The name with its longest beginning that the mapping has replaced by the mapping's value."""
    beginning = max((key for key in mapping if name.startswith(key)), key=len, default="")
    return mapping.get(beginning, beginning) + name[len(beginning) :]


def preference(name: str, order: tuple[str, ...]) -> tuple[int, str]:
    """Sort key: names of ``order`` in their order, then all others by alphabet."""
    return (order.index(name) if name in order else len(order), name)


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
