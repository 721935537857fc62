"""The event for a measured cell, with the line that a user sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import with_place
from ..progress import Finished, format_duration
from ..records.measurement import FRACTION, Measurement, format_number
from ..records.record import Record


@dataclass(frozen=True, kw_only=True)
class Measured(Finished):
    """The record of a cell was written, whether it succeeded or failed."""

    path: Path
    record: Record
    title: str = ""  # method, variant and seed, as progress names them
    headline: str = "accuracy"  # the metric that the line shows
    seconds: float = 0.0  # that the cell took in this run
    pretrain_seconds: float = 0.0  # of these, the pretraining of its encoder

    @property
    def failed(self) -> bool:
        """Whether the protocol or the pretraining failed."""
        return self.record.failed

    @property
    def line(self) -> str:
        """The headline metric at the last tap and the time taken, or why the cell failed."""
        record, title = self.record, self.title or self.record.cell.method
        if record.failed:
            return f"failed: {title}: {with_place(record.error or '', record.traceback or ())}"
        pretrained = f" (pretrained {format_duration(self.pretrain_seconds)})" * bool(self.pretrain_seconds)
        result = headline_result(record.measurements, self.headline)
        return f"{title}  {record.cell.protocol}  {result}  {format_duration(self.seconds)}{pretrained}"


def headline_result(measurements: Sequence[Measurement], headline: str) -> str:
    """The headline metric at the last tap, such as "conv5 92.3 %". Without a headline the first metric of that tap."""
    found = [one for one in measurements if one.metric == headline] or list(measurements)
    shown = next(one for one in found if one.tap == found[-1].tap)
    name = "" if shown.unit == FRACTION else f" {shown.metric}"
    return f"{shown.tap}{name} {value_with_unit(shown)}"


def value_with_unit(measurement: Measurement) -> str:
    """A value as tables print it, with its unit: "92.3 %", "0.125 px"."""
    unit = "%" if measurement.unit == FRACTION else measurement.unit
    return f"{format_number(measurement.value, measurement.unit)} {unit}".rstrip()
