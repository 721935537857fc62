"""The base class of protocols that ask something at every position of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval
from torch import Tensor

from sslbench import FeatureSpec, Protocol, Representation, probes

MAX_VALUES = 2**17  # of a picture's map; larger maps are averaged to the largest grid with so few
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of ridge regression, per row of standardised features


@dataclass(frozen=True, kw_only=True)
class Dense(Protocol):
    """A probe on unpooled maps. It is trained at the maps' positions, and measured at the targets' full resolution."""

    images: Annotated[int, Ge(2)] = 2000  # of each split, evenly spaced
    held_out: Annotated[float, Interval(gt=0, lt=1)] = 0.1  # share of the train pictures on which strengths are chosen
    presets: ClassVar = {"smoke": {"images": 200}}

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """The maps of each tap."""
        return tuple(FeatureSpec(tap, MAX_VALUES, "map", self.images) for tap in self.taps)

    def targets(self, representation: Representation, split: Any, spec: FeatureSpec, name: str) -> Tensor:
        """A target of the pictures that the spec is about, such as "masks", on the device of the features."""
        found: Tensor = getattr(representation.targets(split, spec), name)
        return found.to(representation.device)

    def fit_numbers(self, representation: Representation, spec: FeatureSpec, targets: Tensor) -> probes.RidgeModel:
        """A linear map from the features of a position to the mean of the targets (N, T, H, W) over it."""
        maps = representation.train(spec)
        wanted = probes.means_of_positions(targets, maps.shape[2:])
        keep = probes.rows_of_other_pictures(len(maps), maps[0, 0].numel(), self.held_out)
        return probes.ridge_probe(probes.position_rows(maps), probes.position_rows(wanted), PENALTIES, keep=keep)
