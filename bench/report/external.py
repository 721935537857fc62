"""Checkpoints in tables: they bring encoders of their own, so they join the tables of any encoder, and say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records.record import Record
from ..storage.hashing import fingerprint
from .published import Beside

OWN = "encoders of their own"


def hosted(records: Iterable[Record]) -> list[Record]:
    """The records, a checkpoint's once for every encoder that others were asked the same question with.

    Such a copy stands as if measured with that encoder; what it is, its ``source`` still says.
    """
    records = list(records)
    at_home = [record for record in records if not is_guest(record)]
    if len(at_home) == len(records):
        return at_home
    hosts: dict[str, dict[str, Record]] = {}
    for record in at_home:
        encoder = fingerprint([record["cell"]["encoder"], record["settings"].get("encoder")])
        hosts.setdefault(question(record), {}).setdefault(encoder, record)
    guests = []
    for record in records:
        if is_guest(record):
            homes = hosts.get(question(record), {}).values()
            guests += [placed(record, home) for home in homes] or [placed(record, None)]
    return at_home + guests


def is_guest(record: Record) -> bool:
    """Whether a record is of weights that brought their encoder."""
    return "token" in record["source"]


def question(record: Record) -> str:
    """What must be equal to compare encoders: the protocol with its settings, and the data."""
    cell = record["cell"]
    asked = [cell["protocol"], cell["dataset"], record["identity"].get("dataset"), record["settings"].get("protocol")]
    return fingerprint(asked)


def placed(record: Record, home: Record | None) -> Record:
    """A copy in the table of another record's encoder, or in one of such guests alone."""
    encoder = home["cell"]["encoder"] if home else OWN
    settings = home["settings"].get("encoder") if home else {}
    cell = record["cell"] | {"method": record["source"]["token"], "checkpoint": None, "encoder": encoder}
    return record | {"cell": cell, "settings": record["settings"] | {"encoder": settings}}


def beside_checkpoints(
    known: Beside | None, group: Sequence[Record], taps: Sequence[str], metric: str
) -> Beside | None:
    """Published numbers with those of the group's checkpoints, each of its own protocol."""
    values: dict[tuple[str, str, str], float] = {}
    sources: dict[str, None] = {}
    for record in group if metric == "accuracy" else ():
        told = record["source"].get("published", {}).get(record["cell"]["protocol"], {})
        here = {tap: value for tap, value in told.items() if tap in taps}
        values |= {(record["cell"]["method"], "", tap): value for tap, value in here.items()}
        if here:
            sources[f"{record['source'].get('published_in', record['source'].get('url'))}"] = None
    if not values:
        return known
    setting = "checkpoints: ImageNet-1k, each as its source probes it"
    if known is None:
        return Beside(values=values, setting=setting, sources=tuple(sources))
    return Beside(
        values=known.values | values, setting=f"{known.setting}; {setting}", sources=(*known.sources, *sources)
    )


def guest_notes(group: Iterable[Record], labels: Mapping[str, str]) -> list[str]:
    """What a reader must know of encoders that differ from the table's."""
    told = {}
    for record in group:
        if is_guest(record):
            source = record["source"]
            wants = source.get("input", {}).get("words", "pictures as they come")
            changed = "".join(f", {name} = {value}" for name, value in source.get("encoder_settings", {}).items())
            told[labels[record["key"]]] = f"{source.get('encoder')}{changed}: {wants}"
    lines: dict[str, list[str]] = {}
    for label, line in told.items():
        lines.setdefault(line, []).append(label)
    return [f"encoder of {', '.join(of)}: {line}" for line, of in lines.items()]
