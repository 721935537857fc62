"""Untrained encoder: the floor of every table ("Random").

The network at its random initialisation. Jarrett, Kavukcuoglu, Ranzato and
LeCun, "What is the Best Multi-Stage Architecture for Object Recognition?",
ICCV 2009, showed how far unlearned filters alone can go; a method is worth
what it adds to them. https://doi.org/10.1109/ICCV.2009.5459469

Where we differ: nothing is trained, so nothing can.
"""

from __future__ import annotations

from typing import NoReturn

from sslbench import Batch, Method


class Random(Method):
    """Leaves the encoder as it was built."""

    trains = False

    def loss(self, batch: Batch) -> NoReturn:
        """There is none: raises TypeError."""
        raise TypeError("random is not trained")
