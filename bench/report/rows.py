"""The rows of a table as numbers: means, intervals, ranks, and the order of the rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..records.comparable import CEILING, FLOOR
from ..records.record import Record
from ..statistics import mean_interval_over_seeds
from .frame import records_frame

if TYPE_CHECKING:
    from ..protocol import Protocol

ROLES = {CEILING: "ceiling", FLOOR: "floor"}
"""Methods that others are compared with; they are never ranked."""


def tap_table(frame: pd.DataFrame, taps: Sequence[str], metric: str) -> pd.DataFrame:
    """A row per label and tap: mean over seeds, half the width of its 95 % interval, rank among the methods.

    ``frame`` is `records_frame`, with a column ``label`` if a method has several rows; its order is kept. Values that
    were not measured are NaN; ``failed`` says that every seed failed.
    """
    if "label" not in frame:
        frame = frame.assign(label=frame["method"])
    # There are many small groups: plain Python is faster than pandas.
    measured: dict[tuple[str, str], list[Any]] = defaultdict(list)
    succeeded: dict[str, bool] = {}
    first: dict[str, Any] = {}
    numbers = ["value", "ci_low", "ci_high", "pretrain_flops", "pretrain_seconds", "encoder_parameters"]
    columns = ["label", "method", "variant", "learns_from", "seed", "status", "metric", "tap", *numbers]
    row: Any
    # As objects, since pandas unpacks text one word at a time.
    for row in frame[columns].astype(object).itertuples():
        first.setdefault(row.label, row)
        succeeded[row.label] = succeeded.get(row.label, False) or row.status != "failed"
        if row.metric == metric:
            measured[row.label, row.tap].append(row)
    table = []
    for label, head in first.items():
        for tap in taps:
            seeds = measured[label, tap]
            values, lows, highs, flops, seconds, parameters = (
                np.array([getattr(seed, name) for seed in seeds], float) for name in numbers
            )
            table.append(
                {
                    "label": label,
                    "method": head.method,
                    "variant": head.variant,
                    "learns_from": head.learns_from,
                    "role": ROLES.get(head.method, ""),
                    "tap": tap,
                    "mean": mean_of_known(values),
                    "ci_half_width": ci_half_width(values, lows, highs),
                    "seeds": len({seed.seed for seed in seeds}),
                    "flops": mean_of_known(flops),
                    "seconds": mean_of_known(seconds),
                    "parameters": mean_of_known(parameters),
                    "failed": not succeeded[label],
                }
            )
    means = pd.DataFrame(table)
    lower = {metric} & lower_is_better(frame)
    return means.assign(rank=rank_methods(means.assign(metric=metric), ["tap", "learns_from"], lower))


def lower_is_better(frame: pd.DataFrame) -> set[str]:
    """The metrics of `records_frame` whose lower values are better."""
    return set(frame.loc[frame["higher_is_better"].eq(False), "metric"])


def rank_methods(table: pd.DataFrame, by: list[Any], lower: Collection[str]) -> pd.Series:
    """The rank of each measured method in its group, 1 for the best mean; a method without a rival has none.

    The best mean is the highest, or the lowest for the metrics in ``lower``.
    """
    merit = table["mean"].where(~table["metric"].isin(lower), -table["mean"])
    ranked = table.assign(merit=merit)[(table["role"] == "") & merit.notna()]
    merits = ranked.groupby(by)["merit"]
    return merits.rank(ascending=False, method="min").where(merits.transform("size") > 1)


def labelled_frame(group: Sequence[Record], labels: Mapping[str, str]) -> pd.DataFrame:
    """`records_frame` with the label of each row."""
    frame = records_frame(group)
    return frame.assign(label=frame["key"].map(labels))


def in_row_order(
    group: Sequence[Record],
    labels: Mapping[str, str],
    tap: str,
    metric: str,
    methods: Sequence[str],
    protocol: type[Protocol] | None,
) -> list[Record]:
    """The best at a tap first; variants of a method in the order of their protocol, and methods in the order given."""
    frame = labelled_frame(group, labels)
    rows = tap_table(frame, [tap], metric)
    best_first = labels_best_first(rows, tap, higher_is_better=metric not in lower_is_better(frame))
    places = {label: place for place, label in enumerate(best_first)}
    declared = [label for of_method in (protocol.variants.values() if protocol else ()) for label in of_method]
    variants = {label: at for at, label in enumerate(declared)}
    order = {name: at for at, name in enumerate(dict.fromkeys([CEILING, FLOOR, *methods]))}

    def place(record: Record) -> tuple[int, ...]:
        cell, best = record.cell, places[labels[record.key]]
        return (order.get(cell.method, len(order)), variants.get(cell.variant, -1), best) if variants else (best,)

    return sorted(group, key=place)


def labels_best_first(rows: pd.DataFrame, tap: str, *, higher_is_better: bool) -> list[str]:
    """The labels of `tap_table` by their mean at a tap, the best first; those without a number there are last."""
    sign = -1 if higher_is_better else 1
    measured = rows[rows["tap"] == tap]
    means: dict[str, float] = dict(zip(measured["label"], sign * measured["mean"], strict=True))
    return sorted(means, key=lambda label: (math.isnan(means[label]), means[label], label))


def ci_half_width(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> float:
    """Half the width of the mean's 95 % interval; NaN where none is known.

    With one seed it is the recorded interval, which is over test images. With several it is Student's t interval over
    seeds, or the mean of the recorded ones if that is wider: seeds that happen to agree leave the choice of the test
    images, which all of them share, as uncertain as before.
    """
    over_images = mean_of_known((highs - lows) / 2)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return over_images
    mean, low, _ = mean_interval_over_seeds(values)
    widest = float(np.fmax(mean - low, over_images))
    return widest if widest > 0 else math.nan


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
