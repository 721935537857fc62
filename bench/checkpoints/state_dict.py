"""One rule set for every file: where in it an encoder's tensors are, and under which prefix and names.

Each dictionary of tensors in the file is tried with each way in which the encoder's names are written
and each prefix under which one of those names occurs. What fits is taken whole; else it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from ..encoders import COUNTER, Encoder
from ..errors import UserError

MEANT = 0.25  # share of an encoder above which a place is where it was, though damaged
SHOWN = 3  # names of a list that an error shows

CONTAINERS = (
    *("classy_state_dict.base_model.model.trunk", "model_state_dict", "state_dict", "teacher", "model", "network"),
    "",
)
"""Where weights are, likelier ones first: of two that fit, such as a student and its teacher, the first is taken."""

PREFIXES = (
    *("module.encoder_q.", "module.base_encoder.", "module.encoder1.", "module.encoder.", "module.backbone."),
    *("_feature_blocks.", "base_model._feature_blocks.", "features.module.", "features.", "module.", "backbone.vit."),
    *("backbone.", "encoder.", "base_encoder.", ""),
)


@dataclass(frozen=True)
class Fit:
    """How well one dictionary of a file, read with one prefix and one way of writing names, is an encoder."""

    container: str
    prefix: str
    found: dict[str, Tensor]  # by our names
    missing: list[str]  # their names, without the prefix
    shapes: list[str]
    strays: list[str]  # what stands among the encoder's tensors and is none of them
    left_out: list[str]  # the rest: heads, queues, other encoders

    @property
    def whole(self) -> bool:
        """Whether it is this encoder and nothing else."""
        return not (self.missing or self.shapes or self.strays)

    @property
    def share(self) -> float:
        """Part of the encoder's tensors that match in name and shape."""
        wanted = len(self.found) + len(self.missing) + len(self.shapes)
        return len(self.found) / wanted if wanted else 1.0

    @property
    def layout(self) -> dict[str, str | list[str]]:
        """For a record: empty where the file holds nothing but the encoder under its own names."""
        told: dict[str, str | list[str]] = {"container": self.container, "prefix": self.prefix}
        cut = [name.removeprefix(self.prefix) if self.prefix else name for name in self.left_out]
        beginnings = sorted({".".join(name.split(".")[:2]) for name in cut})
        return {key: value for key, value in (told | {"left_out": beginnings}).items() if value}


@dataclass
class Search:
    """All fits of an encoder to a file, the best one known so far, and rivals that fit as well."""

    best: Fit | None = None
    rivals: list[Fit] = field(default_factory=list)


def fitted(path: Path, groups: Mapping[str, dict[str, Tensor]], encoder: Encoder) -> Fit:
    """The whole fit; raises UserError with both lists and the percentage matched where there is none."""
    found = search(groups, encoder)
    best = found.best
    if best is None or not best.whole:
        raise UserError(refusal(path, groups, best, encoder))
    if found.rivals:
        places = " and ".join(repr(f"{fit.container}: {fit.prefix}") for fit in (best, *found.rivals)[:2])
        raise UserError(
            f"{path}: two encoders in it fit as well, at {places}; save the one you mean in a file of its own."
        )
    return best


def search(groups: Mapping[str, dict[str, Tensor]], encoder: Encoder) -> Search:
    """Tries every place, likelier ones first, and stops at a known one that fits."""
    found = Search()
    for container in sorted(groups, key=lambda name: place(name, CONTAINERS)):
        for fit in fits(container, groups[container], encoder):
            known = fit.prefix in PREFIXES
            if fit.whole and known and not (found.best and found.best.whole):
                return Search(fit)
            if fit.whole and found.best and found.best.whole:
                found.rivals.append(fit)
            elif fit.whole and found.best and found.best.share > MEANT:
                continue  # a whole encoder that nobody asked for does not stand in for a damaged one
            elif found.best is None or (fit.whole, fit.share) > (found.best.whole, found.best.share):
                found.best = fit
        if found.best and found.best.share > MEANT:
            break  # of two dictionaries the likelier one counts
    return found


def fits(container: str, tensors: Mapping[str, Tensor], encoder: Encoder) -> Iterator[Fit]:
    """Every way to read one dictionary as the encoder, known prefixes first."""
    shapes = {name: value.shape for name, value in encoder.state_dict().items()}
    for spelling in encoder.key_mappings():
        ours = {respelt(name, spelling): name for name in shapes}
        needed = [name for name in ours if not name.endswith(COUNTER)]
        if not needed:
            yield Fit(container, "", {}, [], [], [], list(tensors))
            continue
        anchors = {needed[0], needed[len(needed) // 2], needed[-1]}
        prefixes = {
            key.removesuffix(anchor) for key in tensors for anchor in anchors if f".{key}".endswith(f".{anchor}")
        }
        for prefix in sorted(prefixes, key=lambda name: place(name, PREFIXES)):
            yield fit_of(container, prefix, tensors, ours, shapes)


def fit_of(
    container: str, prefix: str, tensors: Mapping[str, Tensor], ours: Mapping[str, str], shapes: Mapping[str, tuple]
) -> Fit:
    """One reading, tensor by tensor."""
    found, missing, other = {}, [], []
    for name, own in ours.items():
        value = tensors.get(prefix + name)
        if value is None:
            missing += [name] * (not name.endswith(COUNTER))
        elif value.shape != shapes[own]:
            other.append(f"{name} ({sized(value.shape)}, expected {sized(shapes[own])})")
        else:
            found[own] = value
    rest = [key for key in tensors if not (key.startswith(prefix) and key[len(prefix) :] in ours)]
    tops = {name.partition(".")[0] for name in ours}
    strays = [
        key
        for key in rest
        if key.startswith(prefix) and key[len(prefix) :].partition(".")[0] in tops and not key.endswith(COUNTER)
    ]
    return Fit(container, prefix, found, missing, other, strays, [key for key in rest if key not in set(strays)])


def respelt(name: str, spelling: Mapping[str, str]) -> str:
    """A name with its longest known beginning written as the file writes it."""
    known = max((ours for ours in spelling if name.startswith(ours)), key=len, default="")
    return spelling.get(known, known) + name[len(known) :]


def place(name: str, order: tuple[str, ...]) -> tuple[int, str]:
    """For sorting: known names in their order, then the others."""
    return (order.index(name) if name in order else len(order), name)


def refusal(path: Path, groups: Mapping[str, dict[str, Tensor]], best: Fit | None, encoder: Encoder) -> str:
    """Both lists and the percentage matched, in one line."""
    name = described(encoder)
    if best is None or not best.found:
        keys = max(groups.values(), key=len)
        wanted = [own for own in encoder.state_dict() if not own.endswith(COUNTER)]
        return (
            f"{path}: these weights do not fit the encoder: 0 % of {name}'s tensors matched; "
            f"missing: {listed(wanted)}; in the file: {listed(list(keys))}. Name the encoder they were made with."
        )
    told = [
        f"{label} {listed(names)}"
        for label, names in (
            ("missing:", best.missing),
            ("of another shape:", best.shapes),
            ("not of this encoder:", best.strays or (best.left_out if best.missing else [])),
        )
        if names
    ]
    under = f" under {best.prefix!r}" if best.prefix else ""
    parts = best.prefix.split(".")
    shorter = {".".join(parts[n:]) for n in range(1, len(parts))}
    there = set(groups[best.container])
    moved = [name for name in best.missing if any(begin + name in there for begin in shorter)]
    half = " Half of its names have lost a part of the prefix." if best.missing and moved == best.missing else ""
    return (
        f"{path}: these weights do not fit the encoder: {100 * best.share:.1f} % of {name}'s tensors matched{under}; "
        f"{'; '.join(told)}.{half} Choose the encoder they were made with."
    )


def described(encoder: Encoder) -> str:
    """An encoder by its class, or by the network that it reads from outside."""
    network = getattr(encoder, "network", None)
    return type(network).__name__ if isinstance(network, nn.Module) else type(encoder).__name__


def listed(names: list[str]) -> str:
    """The first few names."""
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)} in all)" if len(names) > SHOWN else "")


def sized(shape: tuple) -> str:
    """A shape as one writes it."""
    return " x ".join(map(str, shape)) or "one number"
