"""Finds an encoder's tensors in a checkpoint file, whatever program wrote it.

Each dictionary of tensors in the file is compared with the encoder's state dict. Programs put different prefixes in
front of the names, so every prefix is tried that one of the encoder's names has in the dictionary; libraries name the
same tensors differently, so each of the encoder's key mappings and each spelling (``spellings.py``) is tried too. A
match must be complete, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ..encoders import BATCH_NORM_COUNTER, Encoder
from ..errors import UserError
from .match import Match
from .mismatch import format_shape, mismatch_message, network_name, shorten_list
from .positions import can_resize, resize_positions
from .spellings import spellings_of

TOKENS = ("reg_token", "register_tokens")  # a network that was trained with them computes other features without them
DAMAGED_SHARE = 0.25  # a place with more of an encoder's tensors than this holds the encoder, but damaged

CONTAINERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "teacher"),
    *("classy_state_dict.base_model.model.trunk", "model_state_dict", "state_dict", "model", "network"),
    "",
)
"""Dotted paths of the dictionaries that hold weights, in order of preference.

As the loaders of timm and DINO do, averages of weights over training are preferred to the raw weights.
"""

PREFIXES = (
    *("module.encoder_q.", "module.base_encoder.", "module.encoder1.", "module.encoder.", "module.backbone."),
    *("_feature_blocks.", "base_model._feature_blocks.", "features.module.", "features.", "module.", "backbone.vit."),
    *("backbone.", "encoder.", "base_encoder.", ""),
)
"""Known prefixes of an encoder's names, in order of preference."""


@dataclass
class SearchResult:
    """The best match of an encoder in a file, and other complete matches between which nothing decides."""

    best: Match | None = None
    rivals: list[Match] = field(default_factory=list)


def find_match(path: Path, groups: Mapping[str, dict[str, Tensor]], encoder: Encoder, part: str = "") -> Match:
    """The complete match, in the named part of the file if there is a name, with position embeddings of the right size.

    Raises UserError if there is none or several, with what is missing and what is there.
    """
    result = search_file(groups, encoder, part)
    best = result.best
    if part and best is None:
        places = [match.place for match in complete_matches(groups, encoder)] or ["none"]
        raise UserError(
            f"{path}: no part {part!r} of it holds {network_name(encoder)}; parts that do: {shorten_list(places)}."
        )
    if best is None or not best.complete:
        others = [match.place for match in complete_matches(groups, encoder)]
        hint = (
            f"Its part {others[0]!r} fits: {path}#{others[0]}."
            if others
            else "Choose the encoder that it was made with."
        )
        raise UserError(f"{mismatch_message(path, groups, best, encoder)} {hint}")
    if result.rivals:
        places = [match.place for match in (best, *result.rivals)]
        raise UserError(
            f"{path}: two encoders in it fit equally well, at {places[0]!r} and {places[1]!r}; "
            f"choose one, for example {path}#{places[0]}."
        )
    shapes = encoder.state_dict()
    resized = {name: resize_positions(best.tensors[name], tuple(shapes[name].shape)) for name in best.resized}
    return replace(best, tensors=best.tensors | resized)


def search_file(groups: Mapping[str, dict[str, Tensor]], encoder: Encoder, part: str = "") -> SearchResult:
    """Compares the encoder with every place in a file, or with those of the named part, likely ones first.

    The first complete match at a known prefix ends the search.
    """
    result = SearchResult()
    for container in sorted(groups, key=preference_of_container):
        for match in possible_matches(container, groups[container], encoder):
            best = result.best
            if not is_in_part(match, part):
                continue
            if match.complete and (match.prefix in PREFIXES or part == match.place) and not (best and best.complete):
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


def is_in_part(match: Match, part: str) -> bool:
    """Whether a match is in the named part of its file; a part may be any sequence of names within the place."""
    return not part or f".{part.strip('.')}." in f".{match.place}."


def complete_matches(groups: Mapping[str, dict[str, Tensor]], encoder: Encoder) -> list[Match]:
    """One complete match for each dictionary of the file that has one, likely ones first."""
    found = [search_file({name: groups[name]}, encoder).best for name in sorted(groups, key=preference_of_container)]
    return [match for match in found if match and match.complete]


def preference_of_container(name: str) -> tuple[int, str]:
    """Sort key of the dictionaries of a file: likely ones first."""
    return preference(name, CONTAINERS)


def possible_matches(container: str, tensors: Mapping[str, Tensor], encoder: Encoder) -> Iterator[Match]:
    """A match for each spelling, key mapping and prefix under which a name of the encoder occurs.

    A spelling with a complete match is the last one.
    """
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    for spelling in spellings_of(tensors):
        complete = False
        for match in matches_of_spelling(container, spelling, encoder, shapes):
            complete |= match.complete
            yield match
        if complete:
            return


def matches_of_spelling(
    container: str, tensors: Mapping[str, Tensor], encoder: Encoder, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[Match]:
    """A match for each key mapping and each prefix under which a name of the encoder occurs, known prefixes first."""
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
    found, missing, wrong_shapes, resized = {}, [], [], []
    for name, own_name in own_names.items():
        value = tensors.get(prefix + name)
        if value is None:
            missing += [name] * (not name.endswith(BATCH_NORM_COUNTER))
        elif value.shape != shapes[own_name] and can_resize(name, value, shapes[own_name]):
            resized.append(own_name)
            found[own_name] = value
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
            among_own = name.partition(".")[0] in {*modules, *TOKENS} and not key.endswith(BATCH_NORM_COUNTER)
            (unexpected if among_own else left_out).append(key)
    return Match(container, prefix, found, missing, wrong_shapes, unexpected, left_out, resized)


def map_key(name: str, mapping: Mapping[str, str]) -> str:
    """The name with its longest beginning that the mapping has replaced by the mapping's value."""
    beginning = max((key for key in mapping if name.startswith(key)), key=len, default="")
    return mapping.get(beginning, beginning) + name[len(beginning) :]


def preference(name: str, order: tuple[str, ...]) -> tuple[int, str]:
    """Sort key: names of ``order`` in their order, then all others by alphabet."""
    return (order.index(name) if name in order else len(order), name)
