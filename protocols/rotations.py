"""How many rotations should RotNet predict? Pretrains RotNet with each set of angles and probes the encoders.

Gidaris, Singh and Komodakis 2018, section 4.1 and table 2, and the lecture's table. With two rotations the task is
too easy to require knowledge of the image's content; eight rotations are hard to tell apart.

The published numbers are for CIFAR-10, a NIN of four blocks, and the three-layer classifier on its second block.
``--encoder nin --taps conv2 --set rotations.head=mlp`` measures the same here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sslbench import TableCell, accuracy_cell, as_percent

from ._probing import Probing

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Rotations(Probing):
    """Accuracy of a classifier on a frozen tap, for each set of angles that RotNet predicted in pretraining."""

    taps: tuple[str, ...] = ("conv4",)
    variants: ClassVar = {
        "rotnet": {
            "0,90,180,270": {"angles": (0, 90, 180, 270)},
            "0,45,90,135,180,225,270,315": {"angles": (0, 45, 90, 135, 180, 225, 270, 315)},
            "0,180": {"angles": (0, 180)},
            "90,270": {"angles": (90, 270)},
        }
    }

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """The lecture's table: the number of rotations, their angles, the accuracy at each tap, the published one."""
        import pandas as pd

        known = dict(zip(published["setting"], published["value"], strict=True))
        lines = []
        for _, rows in measured[measured["metric"] == cls.headline].groupby("label", sort=False):
            variant = rows["variant"].iloc[0]
            angles = variant.split(",")
            line: dict[str, str | TableCell] = {
                "# Rotations": str(len(angles)),
                "Rotations": ", ".join(f"{angle}°" for angle in angles),
            }
            row: Any
            for row in rows.itertuples():
                name = f"Accuracy at {row.tap}" if len(rows) > 1 else "Accuracy"
                line[name] = accuracy_cell(row, digits=2)
            lines.append(line | {"Published": as_percent(known.get(variant, float("nan")), digits=2)})
        return [pd.DataFrame(lines)]
