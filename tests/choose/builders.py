"""Candidates with records and predictions, without measuring anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslbench.bench.choose.candidates import Candidate
from sslbench.bench.choose.footprint import Footprint
from sslbench.bench.choose.halving import Entry
from sslbench.bench.records import store
from sslbench.bench.records.predictions import Predictions
from sslbench.bench.records.record import Cost
from sslbench.bench.statistics import accuracy_interval
from sslbench.bench.storage.hashing import fingerprint
from tests.records.builders import example_record, fraction

LABELS = np.arange(200) % 4


def entry(
    folder: Path,
    name: str,
    wrong: range,
    *,
    knn: float = 0.5,
    extract_seconds: float = 1.0,
    kind: str = "published",
    is_reference: bool = False,
) -> Entry:
    """A candidate that is wrong on these of 200 test images; it read 300 images in ``extract_seconds``."""
    predicted = LABELS.copy()
    predicted[list(wrong)] += 1
    value = 1 - len(wrong) / len(LABELS)
    low, high = accuracy_interval(predicted == LABELS)
    found = {}
    for protocol, accuracy in (("linear", value), ("knn", knn)):
        record = example_record(
            key=fingerprint([name, protocol]),
            cell={"method": name, "protocol": protocol},
            card={"train_images": 100, "test_images": 200},
            measurements=(fraction(tap="conv5", value=accuracy, ci_low=low, ci_high=high),),
            source={"kind": kind},
            cost=Cost(extract_seconds=extract_seconds, probe_seconds=2.0),
        )
        predictions = Predictions(LABELS, {"conv5": predicted}) if protocol == "linear" else None
        found[protocol] = store.read(store.write(folder, record, predictions))
    candidate = Candidate(
        name=name,
        method=name,
        encoder="convnet",
        tap="conv5",
        is_reference=is_reference,
        to_pretrain=False,
        licence="MIT",
        footprint=Footprint(parameters=10, memory_bytes=4_000_000),
    )
    return Entry(candidate=candidate, records=found)
