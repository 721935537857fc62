"""Untrained encoder: the floor of every table ("Random").

Jarrett, Kavukcuoglu, Ranzato and LeCun, "What is the Best Multi-Stage
Architecture for Object Recognition?", ICCV 2009.
https://doi.org/10.1109/ICCV.2009.5459469

The network keeps its random initialisation. The paper showed how well random
filters alone can do, so a method is worth what it gains over them.

Where we differ: the paper tests its own convolutional architectures; here it is
the benchmark's encoder.
"""

from __future__ import annotations

from typing import NoReturn

from sslbench import Batch, Method


class Random(Method):
    """Leaves the encoder at its random initialisation."""

    year = 2009
    kind = "reference"
    trains = False

    def loss(self, batch: Batch) -> NoReturn:
        """Raises TypeError, since nothing is trained."""
        raise TypeError("random is not trained")
