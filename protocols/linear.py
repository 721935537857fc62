"""Linear probe: how well does a classifier on one frozen layer tell the classes apart?

Zhang, Isola and Efros 2016 (section 3.2) and the lecture's table of Conv4 and Conv5: the feature maps of each tap are
pooled to a fixed number of values, standardised with the statistics of train, and given to a classifier, which is the
only thing that is trained.

``head = linear`` is multinomial logistic regression. Its regularisation is chosen on a held-out, stratified part of
train; then it is fitted to all of train. ``head = mlp`` is the three-layer classifier with batch norm of Gidaris et
al. 2018 (section 4.1), which the lecture's table used. Both read features that are extracted once.

``head = attentive`` does not pool: one learned query attends over the positions of each map, as for networks whose
knowledge is spread over their tokens (Chen et al., "Context Autoencoder for Self-Supervised Representation Learning",
2022, section 4, https://arxiv.org/abs/2202.03026). ``features`` and ``pooling`` mean nothing then.

``solver = sgd`` trains the classifier as the papers do: augmented images pass through the encoder in every epoch,
and the learning rate falls in steps. It is much slower, and meant for exact comparisons with a paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sslbench import FeatureSpec, Representation, UserError, probes

from ._probing import Probing

ATTENDED = 2**14  # values of a map; larger ones are averaged to the largest grid with so few


@dataclass(frozen=True, kw_only=True)
class Linear(Probing):
    """Accuracy of a classifier on each frozen tap."""

    head: Literal["linear", "mlp", "attentive"] = "linear"  # type: ignore[assignment] # attentive only works here

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "attentive":
            for name in ("solver", "pooling", "strengths"):
                if getattr(self, name) != getattr(Probing, name):
                    raise UserError(f"linear.{name}: has no effect with linear.head = attentive; leave it out.")

    def grid_specs(self) -> tuple[FeatureSpec, ...]:
        """The feature spec of the classifier at each tap: a pooled grid, or for the attentive head the map."""
        if self.head != "attentive":
            return super().grid_specs()
        return tuple(FeatureSpec(tap, ATTENDED, "map") for tap in self.taps)

    def fit_classifier(
        self, representation: Representation, spec: FeatureSpec, rows: Tensor | None = None
    ) -> probes.ProbeResult:
        """Fits the classifier to all train images, or to those at ``rows`` (n,)."""
        if self.head != "attentive":
            return super().fit_classifier(representation, spec, rows)
        maps, labels = representation.train(spec), representation.train_labels.to(representation.device)
        if rows is not None:
            maps, labels = maps[rows.to(maps.device)], labels[rows.to(labels.device)]
        return probes.attentive_probe(maps, labels, representation.test(spec), representation.num_classes)
