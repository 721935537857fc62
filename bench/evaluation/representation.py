"""The features of one data set under one frozen encoder.

Features are computed once, stored on disk, and shared by all protocols.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from ..data import Dataset, Images, Split
from ..encoders import Encoder, weights_hash
from ..errors import UserError, did_you_mean
from ..images.augment import colour_jitter, random_resized_crops
from ..precision import low_precision
from ..storage.cache import cache_folder
from .feature_files import FeatureWriter, file_state, is_intact, read_features
from .feature_spec import FeatureSpec, check_class_token, evenly_spaced

BATCH_SIZE = 256  # images per forward pass


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

    def targets(self, split: Literal["train", "test"], spec: FeatureSpec | None = None) -> Split:
        """A split with what the protocol's ``needs`` name, such as masks or depth; what nobody needs is None.

        With a feature spec, labels and targets are of the images that the spec is about, in the order of its features.
        """
        full: Split = getattr(self.dataset, split)
        return full if spec is None or spec.images is None else full.subset(spec.indices(len(full)))

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
        """Features (N, D) of the train split, or maps (N, C, h, w), of the images that the spec is about."""
        return self._features("train", spec)

    def test(self, spec: FeatureSpec) -> Tensor:
        """Features (M, D) of the test split, or maps (M, C, h, w), of the images that the spec is about."""
        return self._features("test", spec)

    @torch.inference_mode()
    def encode(self, images: Tensor, spec: FeatureSpec) -> Tensor:
        """Features (n, D), or maps (n, C, h, w), of any images (n, 3, S, S), uint8 or floats in [0, 1]; not stored.

        ``spec.images`` does not matter. Raises UserError where the encoder has no such tap.
        """
        self._check_spec(spec)
        features = []
        for batch in images.split(BATCH_SIZE):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.computes_in_bf16):
                outputs = self._folded_encoder.features(batch.to(self.device), spec.sources)
            outputs = {name: output.float() for name, output in outputs.items()}
            features.append(spec.read(outputs, self._folded_encoder))
        return torch.cat(features)

    def changed_features(self, spec: FeatureSpec, change: Callable[[Tensor], Tensor], max_images: int) -> Tensor:
        """Features (n, D), or maps, of at most ``max_images`` test images, evenly spaced, after a change; not stored.

        ``change`` turns a batch uint8 (b, 3, S, S) into the images to encode. What it draws with torch's global
        generator is the same for every encoder.
        """
        (features,) = self._encode_changed(spec, (change,), max_images)
        return features

    def two_view_features(self, spec: FeatureSpec, max_images: int) -> tuple[Tensor, Tensor]:
        """Features (n, D) of two views of each of at most ``max_images`` test images, evenly spaced in the split.

        Views are cropped, mirrored and recoloured as in contrastive methods, in the same way for every encoder. These
        features are not stored.
        """

        def random_view(batch: Tensor) -> Tensor:
            return colour_jitter(random_resized_crops(batch))

        first, second = self._encode_changed(spec, (random_view, random_view), max_images)
        return first, second

    def _encode_changed(
        self, spec: FeatureSpec, changes: Sequence[Callable[[Tensor], Tensor]], max_images: int
    ) -> list[Tensor]:
        """The features after each change; every batch goes through all changes before the next batch is read."""
        images = self.dataset.test.images
        features: list[list[Tensor]] = [[] for _ in changes]
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for indices in evenly_spaced(len(images), max_images).split(BATCH_SIZE):
                batch = images[indices].to(self.device)
                for change, of_change in zip(changes, features, strict=True):
                    of_change.append(self.encode(change(batch), spec))
        return [torch.cat(of_change) for of_change in features]

    def extract(self, feature_specs: Iterable[FeatureSpec]) -> Iterator[tuple[int, int]]:
        """Extracts all features that are not stored yet, in one pass over each split.

        Yields the number of images done and in all. Raises UserError where the encoder has no such tap.
        """
        specs = tuple(dict.fromkeys(feature_specs))
        wanted = {name: [spec for spec in specs if not self._is_stored(name, spec)] for name in ("train", "test")}
        splits = {name: getattr(self.dataset, name) for name, missing in wanted.items() if missing}
        images = {name: images_of_any(wanted[name], len(split)) for name, split in splits.items()}
        total, done = sum(map(len, images.values())), 0
        for name, split in splits.items():
            for finished in self._extract_split(name, split, wanted[name], images[name]):
                yield done + finished, total
            done += len(images[name])

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
            if self._recompute or not is_intact(path, len(spec.indices(len(getattr(self.dataset, name))))):
                return False
            self._checked_files[path] = state
        return True

    def _file(self, name: str, spec: FeatureSpec) -> Path:
        key = hashlib.sha256(f"{self._features_id}-{name}-{spec}".encode()).hexdigest()[:24]
        return cache_folder() / "features" / f"{key}.npy"

    def _check_spec(self, spec: FeatureSpec) -> None:
        """Raises UserError where the encoder does not have what a spec reads."""
        if spec.tap not in self.encoder.taps:
            known = did_you_mean(spec.tap, self.encoder.taps)
            raise UserError(f"--taps: the encoder has no tap {spec.tap!r}. {known}")
        check_class_token(spec, self.encoder, "the encoder")

    def _extract_split(
        self, name: str, split: Split, feature_specs: list[FeatureSpec], indices: Tensor
    ) -> Iterator[int]:
        for spec in feature_specs:
            self._check_spec(spec)
        began = time.perf_counter()
        wanted = {spec: torch.isin(indices, spec.indices(len(split))) for spec in feature_specs}
        writers: dict[FeatureSpec, FeatureWriter] = {}
        try:
            for batch, pooled in self._pooled_batches(split.images, feature_specs, indices):
                for spec, features in pooled.items():
                    if spec not in writers:
                        shape = (int(wanted[spec].sum()), *features.shape[1:])
                        writers[spec] = FeatureWriter(self._file(name, spec), shape)
                    writers[spec].append(features[wanted[spec][batch].to(features.device)])
                yield min(batch.stop, len(indices))
            for writer in writers.values():
                writer.finish()
                self._checked_files[writer.target] = file_state(writer.target)
        finally:
            for writer in writers.values():
                writer.discard()
        self.extract_seconds += time.perf_counter() - began

    @torch.inference_mode()
    def _pooled_batches(
        self, images: Images, feature_specs: list[FeatureSpec], indices: Tensor
    ) -> Iterator[tuple[slice, dict[FeatureSpec, Tensor]]]:
        """Yields which of ``indices`` a batch is about, and the batch's features (n, D) for each spec."""
        names = {name for spec in feature_specs for name in spec.sources}
        for start in range(0, len(indices), BATCH_SIZE):
            where = slice(start, start + BATCH_SIZE)
            # A slice reads contiguous memory, which is faster than an index.
            batch = images[where if len(indices) == len(images) else indices[where]].to(self.device)
            # Operations are counted for the first batch only, since all batches cost the same per image.
            counting = FlopCounterMode(display=False) if start == 0 else nullcontext()
            with counting as counter, torch.autocast(self.device.type, torch.bfloat16, enabled=self.computes_in_bf16):
                outputs = self._folded_encoder.features(batch, names)
            if counter:
                self.extract_flops += counter.get_total_flops() * len(indices) // len(batch)
            outputs = {name: output.float() for name, output in outputs.items()}
            yield where, {spec: spec.read(outputs, self._folded_encoder) for spec in feature_specs}


def images_of_any(feature_specs: Iterable[FeatureSpec], total: int) -> Tensor:
    """Indices int64 (n,), rising, of the images that at least one of the specs is about."""
    indices: Tensor = torch.cat([spec.indices(total) for spec in feature_specs]).unique()
    return indices


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
