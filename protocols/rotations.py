"""How many rotations should RotNet know? Pretrains each set of angles, and probes them alike.

Gidaris, Singh and Komodakis 2018, section 4.1 and table 2, and the lecture's table. Two rotations
are too easy to ask for what is in a picture, eight are hard to tell apart.

The published numbers are of CIFAR-10, a NIN of four blocks and the three-layer classifier on its
second block: ``--encoder nin --taps conv2 --set rotations.head=mlp`` asks the same here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from protocols._probing import Probing


@dataclass(frozen=True, kw_only=True)
class Rotations(Probing):
    """Accuracy of a classifier on a frozen tap, for each set of angles that RotNet was taught."""

    taps: tuple[str, ...] = ("conv4",)
    variants: ClassVar = {
        "rotnet": {
            "0,90,180,270": {"angles": (0, 90, 180, 270)},
            "0,45,90,135,180,225,270,315": {"angles": (0, 45, 90, 135, 180, 225, 270, 315)},
            "0,180": {"angles": (0, 180)},
            "90,270": {"angles": (90, 270)},
        }
    }
