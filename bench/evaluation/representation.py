"""The features of one data set under one frozen encoder.

Features are computed once, stored on disk, and shared by all protocols.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from ..data import Dataset, Images, Split
from ..encoders import Encoder, class_token_of, weights_hash
from ..errors import UserError, did_you_mean
from ..images.augment import colour_jitter, random_resized_crops
from ..plugins.ranges import Pooling
from ..precision import low_precision
from ..storage.cache import cache_folder
from .feature_files import FeatureWriter, file_state, is_intact, read_features

BATCH_SIZE = 256  # images per forward pass


@dataclass(frozen=True)
class FeatureSpec:
    """Which features to extract: a tap, and how its feature maps are pooled.

    With ``pooling`` "average" or "max", maps are pooled to the largest square grid that gives at most ``max_dim``
    values, or to one value per channel where ``max_dim`` is None. "mean" is the mean of all positions, "token" is the
    class token, and "token+mean" is both, concatenated, whatever ``max_dim`` is.
    """

    tap: str
    max_dim: int | None = None
    pooling: Pooling = "average"

    @property
    def needs_token(self) -> bool:
        """Whether the encoder must have a class token at this tap."""
        return self.pooling in ("token", "token+mean")

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what it reads, as `Encoder.features` takes them."""
        token = (class_token_of(self.tap),) if self.needs_token else ()
        return token if self.pooling == "token" else (*token, self.tap)

    def read(self, outputs: Mapping[str, Tensor], encoder: Encoder) -> Tensor:
        """The encoder's outputs, with the names of ``sources`` -> features (N, D)."""
        pooled = [self.pool_maps(outputs[name]) for name in self.sources]
        if self.tap == encoder.taps[-1]:
            pooled = [encoder.norm_after_pooling(maps) for maps in pooled]
        return torch.cat([maps.flatten(1) for maps in pooled], dim=1)

    def pool(self, maps: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> features (N, D)."""
        return self.pool_maps(maps).flatten(1)

    def pool_maps(self, maps: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> a grid of pooled values (N, C, s, s)."""
        on_grid = self.max_dim is not None and self.pooling in ("average", "max")
        side = max(1, math.isqrt((self.max_dim or 0) // maps.shape[1])) if on_grid else 1
        if side >= maps.shape[-1]:
            return maps
        pool = F.adaptive_max_pool2d if self.pooling == "max" else F.adaptive_avg_pool2d
        return pool(maps, side)


class Representation:
    """The features (N, D) of both splits of a data set, for any feature spec, with labels and images.

    Features that were not extracted before are extracted when they are first asked for.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        identity: str,
        device: torch.device,
        precision: str = "auto",
        *,
        build_encoder: Callable[[], Encoder] | None = None,
        shared_results: dict[Hashable, Any] | None = None,
        pretext: Mapping[str, float] | None = None,
        recompute: bool = False,
    ) -> None:
        """Sets the encoder to eval mode and freezes it.

        ``identity`` is a string for everything except the weights that changes features: the data, and the encoder's
        name, settings and input. ``build_encoder`` returns the encoder with its random initial weights.
        ``shared_results`` is one dict for all representations of a run, see `compute_once`. ``pretext`` holds the
        values that the method logged at the end of pretraining; it is empty for weights from elsewhere.
        With ``recompute`` features from earlier runs are not used.
        """
        self.encoder = encoder.eval().requires_grad_(False)
        self.dataset, self.device, self.pretext = dataset, device, pretext or {}
        self.computes_in_bf16 = low_precision(device, precision)
        self._folded_encoder = fold_batch_norms(encoder)
        self._identity, self._build_encoder = identity, build_encoder
        self._shared_results: dict[Hashable, Any] = {} if shared_results is None else shared_results
        self._features_id = self._feature_identity(encoder)
        self._recompute = recompute
        self._checked_files: dict[Path, tuple[int, int, int] | None] = {}  # files whose content was checked or written
        self.extract_seconds, self.extract_flops = 0.0, 0

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.dataset.classes)

    @property
    def train_labels(self) -> Tensor:
        """Labels of the train split, int64 (N,)."""
        return self.dataset.train.labels

    @property
    def test_labels(self) -> Tensor:
        """Labels of the test split, int64 (M,)."""
        return self.dataset.test.labels

    @property
    def train_images(self) -> Images:
        """Images of the train split: uint8 (N, 3, H, W), or files that are read when they are indexed."""
        return self.dataset.train.images

    @property
    def test_images(self) -> Images:
        """Images of the test split: uint8 (M, 3, H, W), or files that are read when they are indexed."""
        return self.dataset.test.images

    def encoder_copy(self, *, untrained: bool = False) -> Encoder:
        """A copy of the encoder that may be trained; with ``untrained`` one with its random initial weights instead."""
        if not untrained:
            return copy.deepcopy(self.encoder)
        if self._build_encoder is None:
            raise ValueError("an untrained encoder needs the argument build_encoder of Representation")
        return self._build_encoder()

    @cached_property
    def is_untrained(self) -> bool:
        """Whether the encoder has its random initial weights."""
        return self._features_id == self._feature_identity(self.encoder_copy(untrained=True))

    def compute_once(self, encoder: Encoder, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The result of ``compute()``, computed once per run for the same weights, data set and key."""
        full_key = (self._feature_identity(encoder), key)
        if full_key not in self._shared_results:
            self._shared_results[full_key] = compute()
        return self._shared_results[full_key]

    def _feature_identity(self, encoder: Encoder) -> str:
        """A string that is equal where an encoder's features of this data set are equal."""
        precision = "bf16" if self.computes_in_bf16 else "fp32"
        return f"{weights_hash(encoder)}-{self._identity}-{self.dataset.image_size}-{precision}"

    def train(self, spec: FeatureSpec) -> Tensor:
        """Features (N, D) of the train split."""
        return self._features("train", spec)

    def test(self, spec: FeatureSpec) -> Tensor:
        """Features (M, D) of the test split."""
        return self._features("test", spec)

    @torch.inference_mode()
    def two_view_features(self, spec: FeatureSpec, max_images: int) -> tuple[Tensor, Tensor]:
        """Features (n, D) of two views of each of at most ``max_images`` test images, evenly spaced in the split.

        Views are cropped, mirrored and recoloured as in contrastive methods, in the same way for every encoder. These
        features are not stored.
        """
        split, first, second = self.dataset.test, list[Tensor](), list[Tensor]()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for indices in evenly_spaced(len(split), max_images).split(BATCH_SIZE):
                batch = split.images[indices].to(self.device)
                for features in (first, second):
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.computes_in_bf16):
                        views = colour_jitter(random_resized_crops(batch))
                        outputs = self._folded_encoder.features(views, spec.sources)
                    outputs = {name: output.float() for name, output in outputs.items()}
                    features.append(spec.read(outputs, self._folded_encoder))
        return torch.cat(first), torch.cat(second)

    def extract(self, feature_specs: Iterable[FeatureSpec]) -> Iterator[tuple[int, int]]:
        """Extracts all features that are not stored yet, in one pass over each split.

        Yields the number of images done and in all. Raises UserError where the encoder has no such tap.
        """
        specs = tuple(dict.fromkeys(feature_specs))
        wanted = {name: [spec for spec in specs if not self._is_stored(name, spec)] for name in ("train", "test")}
        splits = {name: getattr(self.dataset, name) for name, missing in wanted.items() if missing}
        total, done = sum(map(len, splits.values())), 0
        for name, split in splits.items():
            for finished in self._extract_split(name, split, wanted[name]):
                yield done + finished, total
            done += len(split)

    def _features(self, name: str, spec: FeatureSpec) -> Tensor:
        path = self._file(name, spec)
        if not self._is_stored(name, spec):
            for _ in self.extract([spec]):
                pass
        features = read_features(path, self.device)
        self._checked_files[path] = file_state(path)
        return features

    def _is_stored(self, name: str, spec: FeatureSpec) -> bool:
        path = self._file(name, spec)
        state = file_state(path)
        if state is None:
            return False
        if self._checked_files.get(path) != state:
            if self._recompute or not is_intact(path, len(getattr(self.dataset, name))):
                return False
            self._checked_files[path] = state
        return True

    def _file(self, name: str, spec: FeatureSpec) -> Path:
        key = hashlib.sha256(f"{self._features_id}-{name}-{spec}".encode()).hexdigest()[:24]
        return cache_folder() / "features" / f"{key}.npy"

    def _extract_split(self, name: str, split: Split, feature_specs: list[FeatureSpec]) -> Iterator[int]:
        for spec in feature_specs:
            if spec.tap not in self.encoder.taps:
                known = did_you_mean(spec.tap, self.encoder.taps)
                raise UserError(f"--taps: the encoder has no tap {spec.tap!r}. {known}")
            check_class_token(spec, self.encoder, "the encoder")
        began = time.perf_counter()
        writers: dict[FeatureSpec, FeatureWriter] = {}
        try:
            for start, pooled in self._pooled_batches(split.images, feature_specs):
                for spec, features in pooled.items():
                    if spec not in writers:
                        writers[spec] = FeatureWriter(self._file(name, spec), (len(split), features.shape[1]))
                    writers[spec].append(features)
                yield start + len(features)
            for writer in writers.values():
                writer.finish()
                self._checked_files[writer.target] = file_state(writer.target)
        finally:
            for writer in writers.values():
                writer.discard()
        self.extract_seconds += time.perf_counter() - began

    @torch.inference_mode()
    def _pooled_batches(
        self, images: Images, feature_specs: list[FeatureSpec]
    ) -> Iterator[tuple[int, dict[FeatureSpec, Tensor]]]:
        """Yields the index of each batch's first image, and the batch's features (n, D) for each spec."""
        names = {name for spec in feature_specs for name in spec.sources}
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE].to(self.device)
            # Operations are counted for the first batch only, since all batches cost the same per image.
            counting = FlopCounterMode(display=False) if start == 0 else nullcontext()
            with counting as counter, torch.autocast(self.device.type, torch.bfloat16, enabled=self.computes_in_bf16):
                outputs = self._folded_encoder.features(batch, names)
            if counter:
                self.extract_flops += counter.get_total_flops() * len(images) // len(batch)
            outputs = {name: output.float() for name, output in outputs.items()}
            yield start, {spec: spec.read(outputs, self._folded_encoder) for spec in feature_specs}


def check_class_token(spec: FeatureSpec, encoder: Encoder, name: str, protocol: str = "") -> None:
    """Raises UserError where features need a class token that the encoder lacks; the names are for the message."""
    if spec.needs_token and spec.tap not in encoder.token_taps:
        taps = f"--taps {','.join(encoder.token_taps)} or " if encoder.token_taps else ""
        setting = f"{protocol}.pooling" if protocol else "pooling"
        raise UserError(
            f"{setting} = {spec.pooling}: {name} has no class token at {spec.tap}; use {taps}{setting}=mean."
        )


def evenly_spaced(total: int, count: int) -> Tensor:
    """Indices int64 (n,) of at most ``count`` of ``total`` items, evenly spaced.

    In a split that is sorted by class, every class gets its share.
    """
    n = min(total, count)
    return torch.arange(n) * total // n


def fold_batch_norms(encoder: Encoder) -> Encoder:
    """A copy that computes the same, with each batch norm that follows a convolution folded into its weights."""
    network = copy.deepcopy(encoder)
    if not encoder.foldable:
        return network
    for stage in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (name, layer), (next_name, norm) in pairwise(list(stage.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused: nn.Module = fuse_conv_bn_eval(layer, norm)
                setattr(stage, name, fused.to(memory_format=torch.channels_last))
                setattr(stage, next_name, nn.Identity())
    return network
