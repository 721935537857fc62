"""Retrieval: does a search by similarity find images of the same class?

Every test image is a query; the train images are ranked by the cosine similarity of globally pooled features. Mean
average precision is over whole rankings; recall at k is the share of queries with at least one image of their class
among the first k, as in Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016,
section 5 (https://arxiv.org/abs/1511.06452).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import MinLen
from torch import Tensor
from torch.nn.functional import normalize

from sslbench import (
    Count,
    FeatureSpec,
    Measurement,
    Metric,
    Panel,
    Pooling,
    Protocol,
    Representation,
    probes,
    statistics,
)

from ._metrics_table import metrics_table
from ._pictures import shown_images, shown_rows

if TYPE_CHECKING:
    from pandas import DataFrame

QUERIES = 256  # that are ranked at once
NEAREST = 5  # images that are shown for a query


def mean_share_of_the_class(representation: Representation) -> float:
    """About the average precision of a random ranking: the share of the query's class among the images."""
    shares = representation.train_labels.bincount(minlength=representation.num_classes) / len(
        representation.train_labels
    )
    return float(shares[representation.test_labels].mean())


def recall_by_chance(representation: Representation, k: int) -> float:
    """The share of queries with an image of their class among k that are drawn blindly."""
    shares = representation.train_labels.bincount(minlength=representation.num_classes) / len(
        representation.train_labels
    )
    return float(1 - (1 - shares[representation.test_labels]).pow(k).mean())


@dataclass(frozen=True, kw_only=True)
class Retrieval(Protocol):
    """Mean average precision, and recall at k, of the nearest train images of each test image."""

    images: Count = 10_000  # of each split, evenly spaced
    k: Annotated[tuple[Count, ...], MinLen(1)] = (1, 5, 10)
    pooling: Pooling = "average"  # to one vector per image
    presets: ClassVar = {"smoke": {"images": 1000}}
    headline: ClassVar = "mean_average_precision"
    metrics: ClassVar = (
        Metric("mean_average_precision", "fraction", best=1, chance=mean_share_of_the_class),
        *(Metric(f"recall_at_{k}", "fraction", best=1, chance=partial(recall_by_chance, k=k)) for k in (1, 5, 10)),
        Metric("recall_at", "fraction", best=1),
    )

    def feature_specs(self) -> tuple[FeatureSpec, ...]:
        """One vector per image at each tap."""
        return tuple(FeatureSpec(tap, pooling=self.pooling, images=self.images) for tap in self.taps)

    def evaluate(self, representation: Representation) -> Iterator[Measurement]:
        """Yields the mean average precision and the recalls at each tap."""
        for spec in self.feature_specs():
            bank, queries = (normalize(part(spec), dim=1) for part in (representation.train, representation.test))
            bank_labels, labels = (
                representation.targets(split, spec).labels.to(bank.device) for split in ("train", "test")
            )
            precisions, hits = rank_queries(bank, bank_labels, queries, labels, self.k)
            known = precisions.isfinite()  # a query whose class is not in the bank has no precision
            low, high = statistics.bootstrap_mean_interval(precisions[known].cpu().numpy())
            value = float(precisions[known].mean())
            yield Measurement(tap=spec.tap, metric="mean_average_precision", value=value, ci_low=low, ci_high=high)
            for k, found in zip(self.k, hits, strict=True):
                low, high = statistics.accuracy_interval(found.cpu().numpy())
                value = float(found.float().mean())
                yield Measurement(tap=spec.tap, metric=f"recall_at_{k}", value=value, ci_low=low, ci_high=high)

    @classmethod
    def table(cls, measured: DataFrame, published: DataFrame) -> list[DataFrame]:
        """Methods by metrics and taps."""
        return metrics_table(cls.headline, measured)

    def pictures(self, representation: Representation) -> list[Panel]:
        """Queries, and the most similar train images at the last tap, with their classes."""
        spec = self.feature_specs()[-1]
        bank, queries = representation.train(spec), representation.test(spec)[shown_rows(representation, spec)]
        _, nearest = next(probes.nearest_neighbours(bank, queries, min(NEAREST, len(bank)), len(queries)))
        images = representation.train_images
        indices = spec.indices(len(images))[nearest.cpu()]
        of_queries = representation.targets("test", spec).labels[shown_rows(representation, spec)].cpu()
        of_nearest = representation.train_labels.cpu()[indices]
        names = representation.dataset.classes
        columns = [
            Panel(title="query", images=shown_images(representation, spec), captions=names_of(names, of_queries))
        ]
        for place in range(indices.shape[1]):
            found = zip(names_of(names, of_nearest[:, place]), of_nearest[:, place] == of_queries, strict=True)
            columns.append(
                Panel(
                    title=f"nearest {place + 1}" if place else f"nearest at {spec.tap}",
                    images=images[indices[:, place]],
                    captions=tuple(f"{'✓' if right else '✗'} {name}" for name, right in found),
                )
            )
        return columns


def names_of(classes: tuple[str, ...], labels: Tensor) -> tuple[str, ...]:
    """The names of the classes of labels (N,)."""
    return tuple(classes[label] for label in labels.tolist())


def rank_queries(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, k: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Normalised bank (N, D) and queries (M, D) with labels -> average precisions (M,), and hits bool (K, M)."""
    probes.check_features(bank)
    probes.check_features(queries)
    precisions, hits = [], []
    for some, truth in zip(queries.split(QUERIES), labels.split(QUERIES), strict=True):
        similarity = some @ bank.T
        same = bank_labels == truth[:, None]
        precisions.append(probes.average_precision(similarity.T, same.T))
        nearest = same.gather(1, similarity.topk(min(max(k), len(bank)), dim=1).indices)
        hits.append(torch.stack([nearest[:, :count].any(1) for count in k]))
    return torch.cat(precisions), torch.cat(hits, 1)
