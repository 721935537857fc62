"""A frozen encoder seen through one data set: features taken once, shared by all probes."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from ..data import Dataset, Images, Split
from ..encoders import Encoder, weights_hash
from ..errors import UserError, did_you_mean
from ..images.augment import recoloured, resized_crops
from ..precision import low_precision
from ..storage.cache import cache_folder

CACHE_LIMIT = 20 * 2**30  # bytes of features kept; the least recently used go first
STILL_WANTED = 3600  # seconds since the last use in which features are not thrown away
BATCH = 256  # images a forward pass


@dataclass(frozen=True)
class FeatureSpec:
    """A tap and how its maps are pooled: to the largest square grid of at most ``max_dim`` values, or to one mean."""

    tap: str
    max_dim: int | None = None
    pooling: Literal["average", "max"] = "average"

    def pooled(self, maps: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> features (N, D)."""
        side = 1 if self.max_dim is None else max(1, math.isqrt(self.max_dim // maps.shape[1]))
        if side < maps.shape[-1]:
            pool = F.adaptive_max_pool2d if self.pooling == "max" else F.adaptive_avg_pool2d
            maps = pool(maps, side)
        return maps.flatten(1)


class Representation:
    """Features (N, D) of both splits at every feature spec asked for, on disk and in the page cache."""

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        identity: str,
        device: torch.device,
        precision: str = "auto",
        *,
        build: Callable[[], Encoder] | None = None,
        shared: dict[Hashable, Any] | None = None,
        pretext: Mapping[str, float] | None = None,
    ) -> None:
        """``identity`` covers what weights do not: the data, and the encoder's name, settings and what it sees.

        ``build`` makes the encoder at its random initialisation; ``shared`` is what the representations of a run keep;
        ``pretext`` what the method watched of its own task at the end of pretraining, unknown of foreign weights.
        """
        self.encoder = encoder.eval().requires_grad_(False)
        self.network = folded(encoder)
        self.dataset, self.device, self.pretext = dataset, device, pretext or {}
        self.low = low_precision(device, precision)
        self.identity, self._build = identity, build
        self._shared: dict[Hashable, Any] = {} if shared is None else shared
        self.content = self.content_of(encoder)
        self.extract_seconds, self.extract_flops = 0.0, 0

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.dataset.classes)

    @property
    def train_labels(self) -> Tensor:
        """int64 (N,)."""
        return self.dataset.train.labels

    @property
    def test_labels(self) -> Tensor:
        """int64 (N,)."""
        return self.dataset.test.labels

    @property
    def train_images(self) -> Images:
        """uint8 (N, 3, H, W), or files that are read when asked for."""
        return self.dataset.train.images

    @property
    def test_images(self) -> Images:
        """uint8 (N, 3, H, W), or files that are read when asked for."""
        return self.dataset.test.images

    def encoder_copy(self, *, untrained: bool = False) -> Encoder:
        """The encoder, or with ``untrained`` one like it at its random initialisation, with weights of its own."""
        if not untrained:
            return copy.deepcopy(self.encoder)
        if self._build is None:
            raise ValueError("this representation was not told how its encoder is built")
        return self._build()

    @cached_property
    def untrained(self) -> bool:
        """Whether the encoder stands at its random initialisation."""
        return self.content == self.content_of(self.encoder_copy(untrained=True))

    def once(self, encoder: Encoder, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, made once a run for the same weights of an encoder, the same data and the same key."""
        whole = (self.content_of(encoder), key)
        if whole not in self._shared:
            self._shared[whole] = make()
        return self._shared[whole]

    def content_of(self, encoder: Encoder) -> str:
        """What decides an encoder's features of these data."""
        precision = "bf16" if self.low else "fp32"
        return f"{weights_hash(encoder)}-{self.identity}-{self.dataset.image_size}-{precision}"

    def train(self, spec: FeatureSpec) -> Tensor:
        """Features (N, D) of the train split."""
        return self._features("train", spec)

    def test(self, spec: FeatureSpec) -> Tensor:
        """Features (N, D) of the test split."""
        return self._features("test", spec)

    @torch.inference_mode()
    def views(self, spec: FeatureSpec, images: int) -> tuple[Tensor, Tensor]:
        """Features (n, D) each of two views of up to so many test images, taken evenly from the split.

        Views are cropped, mirrored and recoloured as contrastive methods do, the same for every encoder; the features
        are not kept.
        """
        split, first, second = self.dataset.test, list[Tensor](), list[Tensor]()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            for indices in evenly(len(split), images).split(BATCH):
                batch = split.images[indices].to(self.device)
                for side in (first, second):
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
                        maps = self.network.features(recoloured(resized_crops(batch)), [spec.tap])
                    side.append(spec.pooled(maps[spec.tap].float()))
        return torch.cat(first), torch.cat(second)

    def extract(self, feature_specs: Iterable[FeatureSpec]) -> Iterator[tuple[int, int]]:
        """Takes what is not cached yet in one pass over each split; yields images done and images in all."""
        wanted = {
            name: [r for r in dict.fromkeys(feature_specs) if not self._kept(name, r)] for name in ("train", "test")
        }
        splits = {name: getattr(self.dataset, name) for name, missing in wanted.items() if missing}
        total, done = sum(map(len, splits.values())), 0
        for name, split in splits.items():
            for finished in self._pass(name, split, wanted[name]):
                yield done + finished, total
            done += len(split)

    def _features(self, name: str, spec: FeatureSpec) -> Tensor:
        path = self._file(name, spec)
        if not self._kept(name, spec):
            for _ in self.extract([spec]):
                pass
        os.utime(path)
        # Copy on write: torch wants memory it may write to, and the file must stay as it is.
        return torch.from_numpy(np.load(path, mmap_mode="c")).to(self.device)

    def _kept(self, name: str, spec: FeatureSpec) -> bool:
        path = self._file(name, spec)
        try:
            return len(np.load(path, mmap_mode="r")) == len(getattr(self.dataset, name))
        except FileNotFoundError:
            return False
        except ValueError:  # cut short, by a full disk or a crash of the machine
            path.unlink(missing_ok=True)
            return False

    def _file(self, name: str, spec: FeatureSpec) -> Path:
        key = hashlib.sha256(f"{self.content}-{name}-{spec}".encode()).hexdigest()[:24]
        return cache_folder() / "features" / f"{key}.npy"

    def _pass(self, name: str, split: Split, feature_specs: list[FeatureSpec]) -> Iterator[int]:
        for spec in feature_specs:
            if spec.tap not in self.encoder.taps:
                raise UserError(
                    f"--taps: the encoder has no tap {spec.tap!r}. {did_you_mean(spec.tap, self.encoder.taps)}"
                )
        began = time.perf_counter()
        files: dict[FeatureSpec, tuple[Path, np.memmap]] = {}
        try:
            for start, pooled in self._batches(split.images, feature_specs):
                for spec, features in pooled.items():
                    if spec not in files:
                        files[spec] = fresh_file(self._file(name, spec), (len(split), features.shape[1]))
                    files[spec][1][start : start + len(features)] = features.cpu().numpy()
                yield start + len(features)
            for spec, (temporary, _) in files.items():
                os.replace(temporary, self._file(name, spec))
        finally:
            for temporary, _ in files.values():
                temporary.unlink(missing_ok=True)
        self.extract_seconds += time.perf_counter() - began

    @torch.inference_mode()
    def _batches(
        self, images: Images, feature_specs: list[FeatureSpec]
    ) -> Iterator[tuple[int, dict[FeatureSpec, Tensor]]]:
        taps = {spec.tap for spec in feature_specs}
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH].to(self.device)
            # One batch tells for all.
            counting = FlopCounterMode(display=False) if start == 0 else nullcontext()
            with counting as counter, torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
                maps = self.network.features(batch, taps)
            if counter:
                self.extract_flops += counter.get_total_flops() * len(images) // len(batch)
            yield start, {spec: spec.pooled(maps[spec.tap].float()) for spec in feature_specs}


def evenly(total: int, wanted: int) -> Tensor:
    """Indices int64 (n,) of up to so many of all, evenly spaced: of images sorted by class each has its share."""
    n = min(total, wanted)
    return torch.arange(n) * total // n


def folded(encoder: Encoder) -> Encoder:
    """A copy that computes the same with the batch norms that follow a convolution folded into its weights."""
    network = copy.deepcopy(encoder)
    if not encoder.foldable:
        return network
    for stage in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for (at, layer), (after, norm) in pairwise(list(stage.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(layer, norm).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                setattr(stage, at, fused)
                setattr(stage, after, nn.Identity())
    return network


def fresh_file(target: Path, shape: tuple[int, int]) -> tuple[Path, np.memmap]:
    """A float32 memory map beside its final place, after making room for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed = 4 * shape[0] * shape[1]
    kept = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in os.scandir(target.parent))
    size = sum(part for _, part, _ in kept) + needed
    for used, part, path in kept:
        if size > CACHE_LIMIT and time.time() - used > STILL_WANTED:
            Path(path).unlink(missing_ok=True)
            size -= part
    if shutil.disk_usage(target.parent).free < needed:
        # A memory map on a full disk would kill the process without a word.
        raise UserError(f"{target.parent}: no space for {needed:,} bytes of features; make room there.")
    temporary = target.with_name(f"{target.stem}.{os.getpid()}.tmp")
    return temporary, np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
