"""Encoders with their weights, and the features that they give for any images."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..data._pictures import CORES, map_in_threads, resize_and_crop, resize_square, try_decode
from ..data._rgb import convert_to_rgb
from ..encoders import Encoder
from ..errors import UserError, did_you_mean
from ..evaluation.feature_spec import FeatureSpec, check_class_token
from ..evaluation.representation import BATCH_SIZE, fold_batch_norms
from ..planning.build import build_plan
from ..planning.plan import Job, Plan, PlannedDatasets
from ..plugins.ranges import Pooling
from ..precision import low_precision
from ..progress import Progress
from ..run.encoder import check_pretraining_data, find_pretrained, load_or_pretrain
from ..run.preflight import check_jobs, device_of
from ..run.runner import download_checkpoints, prepare_work
from .request import PathLike, make_request
from .run import watch

Picture = PathLike | Image.Image
Images = Tensor | np.ndarray | Sequence[Picture]


def encoder(
    method: str,
    *,
    encoder: str | None = None,
    encoder_from: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | str | Iterable[str] = (),
    dataset: str = "synthetic",
    data_dir: PathLike | None = None,
    image_size: int | None = None,
    preset: str = "small",
    device: str = "auto",
    plugin: PathLike | Iterable[PathLike] = (),
    checkpoint: PathLike | None = None,
    pretrain: bool = False,
    progress: bool = True,
) -> Encoder:
    """A method's encoder with its weights, frozen and in eval mode: images (N, 3, H, W) -> features (N, dim).

    ``method`` is a word of ``--methods``: "rotnet" for weights that are bundled or in the cache, and "moco@v2_800ep",
    "timm/resnet18", "timm/resnet18@random" or "file/my.safetensors" for weights from elsewhere. ``dataset`` is what a
    method is pretrained on. The encoder's ``taps`` are the layers that `features` can read, ``widths`` their channels,
    and ``input_size`` is the side in pixels of the images that it expects.

    Raises UserError for a mistake, or if there are no weights, unless ``pretrain`` allows to pretrain it now.
    """
    words = locals()
    words |= {"methods": (method,), "seeds": seed, "checkpoint": {} if checkpoint is None else {method: checkpoint}}
    plan = build_plan(make_request(words))
    if len(plan.jobs) != 1:
        raise UserError(f"encoder: {method!r} names {len(plan.jobs)} encoders; name one, such as 'rotnet'.")
    (job,) = plan.jobs
    check_jobs(plan, plan.jobs)
    if job.trains and not pretrain and not find_pretrained(plan, job):
        raise UserError(
            f"encoder: no weights of {method} with these settings are bundled or in the cache; measure it first with "
            f"sslbench.run, or use pretrain=True."
        )
    return watch(load_encoder(plan, job), progress=progress)


def load_encoder(plan: Plan, job: Job) -> Generator[Progress, None, Encoder]:
    """The job's encoder, frozen, with weights that are loaded, downloaded or pretrained. Raises Diverged."""
    yield from download_checkpoints((job,))
    datasets = prepare_work(plan, (job,)) if job.trains else PlannedDatasets(plan)
    check_pretraining_data(plan, (job,), datasets)
    found, _ = yield from load_or_pretrain(plan, job, datasets, device_of(plan.request.device))
    if job.external and job.external.input_spec:  # the whole of it, also if this data set's files are cropped already
        found.with_input_spec(job.external.input_spec)
    return found.eval().requires_grad_(False)


@torch.inference_mode()
def features(
    encoder: Encoder,
    images: Images,
    *,
    tap: str | None = None,
    pooling: Pooling = "mean",
    batch_size: int = BATCH_SIZE,
    device: str | None = None,
    precision: str = "auto",
) -> Tensor:
    """Features float32 (N, D) on the CPU: of a tap, by default the last one, pooled as protocols pool it.

    ``images`` are an array or tensor (N, 3, H, W) or (N, H, W, 3), uint8 or floats in [0, 1], or a list of paths or PIL
    pictures of any size, which are cropped and resized as the harness reads a data set for this encoder. ``device`` is
    where to compute, by default where the encoder is.

    Raises UserError for a tap that the encoder lacks, or for images that it cannot take.
    """
    tap = encoder.taps[-1] if tap is None else tap
    if tap not in encoder.taps:
        raise UserError(f"features: the encoder has no tap {tap!r}. {did_you_mean(tap, encoder.taps)}")
    if batch_size < 1:
        raise UserError(f"features: batch_size = {batch_size}: it must be at least 1.")
    spec = FeatureSpec(tap, pooling=pooling)
    check_class_token(spec, encoder, "the encoder")
    place = encoder.mean.device if device is None else device_of(device)
    network = fold_batch_norms(encoder.eval()).to(place)
    if isinstance(images, Tensor | np.ndarray):
        images = as_image_tensor(images)
    if isinstance(images, Tensor) and fits(images, encoder):
        batches: Iterable[Tensor] = images.split(batch_size)
    else:
        if encoder.input_spec:  # the central crop is taken while a picture is read
            network.input_spec = replace(encoder.input_spec, crop=1.0)
        batches = read_pictures(as_pictures(images) if isinstance(images, Tensor) else images, encoder, batch_size)
    found = [torch.empty(0, encoder.widths[tap])]
    for batch in batches:
        with torch.autocast(place.type, torch.bfloat16, enabled=low_precision(place, precision)):
            outputs = network.features(batch.to(place), spec.sources)
        found.append(spec.read({name: output.float() for name, output in outputs.items()}, network).cpu())
    return torch.cat(found[1:] or found)


def as_image_tensor(images: Tensor | np.ndarray) -> Tensor:
    """Images as a tensor (N, 3, H, W), uint8 or float32. Raises UserError for other shapes, types or values."""
    # A copy only if the array is one that torch cannot share: read-only, or with steps backwards.
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if tensor.ndim == 4 and tensor.shape[1] != 3 and tensor.shape[3] == 3:
        tensor = tensor.permute(0, 3, 1, 2)
    if tensor.ndim != 4 or tensor.shape[1] != 3:
        shape = tuple(tensor.shape)
        raise UserError(f"features: images have the shape {shape}; it must be (N, 3, H, W) or (N, H, W, 3).")
    if tensor.dtype == torch.uint8:
        return tensor
    if not tensor.is_floating_point() or (tensor.numel() and not 0 <= tensor.min() <= tensor.max() <= 1):
        raise UserError("features: images must be uint8, or floats from 0 to 1.")
    return tensor.float()


def fits(images: Tensor, encoder: Encoder) -> bool:
    """Whether the encoder takes images (N, 3, H, W) as they are: it resizes squares itself if it has an input spec."""
    height, width = images.shape[2:]
    return height == width and (encoder.input_spec is not None or encoder.input_size in (None, width))


def as_pictures(images: Tensor) -> list[Image.Image]:
    """uint8 images (N, 3, H, W) as PIL pictures. Raises UserError for floats, which PIL cannot resize."""
    if images.dtype != torch.uint8:
        raise UserError(
            "features: float images must be squares of the encoder's input size; pass uint8 to resize them."
        )
    return [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]


def read_pictures(pictures: Sequence[Picture], encoder: Encoder, batch_size: int) -> Iterator[Tensor]:
    """Batches uint8 (n, 3, S, S) of files and PIL pictures, as data sets are read for this encoder.

    Raises UserError for a picture that cannot be read.
    """
    side = encoder.input_spec.size if encoder.input_spec else encoder.input_size
    if side is None:
        raise UserError("features: the encoder has no input_size; set it to the side in pixels that it expects.")

    def read(picture: Picture) -> np.ndarray:
        if not isinstance(picture, Image.Image):
            pixels = try_decode(Path(picture).expanduser(), side, encoder.input_spec)
            if isinstance(pixels, str):
                raise UserError(f"features: {picture}: cannot be read: {pixels}.")
            return pixels
        rgb = convert_to_rgb(ImageOps.exif_transpose(picture))
        square = resize_and_crop(rgb, encoder.input_spec) if encoder.input_spec else resize_square(rgb, side)
        return np.asarray(square).transpose(2, 0, 1)

    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        yield torch.from_numpy(np.stack(list(map_in_threads(read, batch, CORES))))
