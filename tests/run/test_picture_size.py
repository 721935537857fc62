"""A published checkpoint decides the size at which its pictures are read from their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from sslbench.bench.cli import main
from sslbench.bench.data.folder import Folder
from sslbench.bench.images.input_spec import InputSpec
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import PlannedDatasets, Request
from sslbench.bench.records import store as records
from sslbench.bench.run.encoder import build_encoder

CPU = torch.device("cpu")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Large pictures of several shapes: 2 classes, 2 splits."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "photographs" / split / label
            folder.mkdir(parents=True)
            for n, (height, width) in enumerate([(300, 400), (401, 333), (260, 260), (311, 517)]):
                coarse = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{n}.png")
    return tmp_path / "photographs"


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "crop"), [(224, 0.875), (224, 224 / 232), (64, 1.0)])
def test_pictures_are_those_of_torchvision_to_the_pixel(
    photographs: Path, resampling: str, size: int, crop: float
) -> None:
    """Resized and cropped from the file, each picture equals what torchvision's own preprocessing makes of it."""
    spec = InputSpec(size=size, crop=crop, resampling=resampling)  # type: ignore[arg-type]
    images = Folder(data_dir=str(photographs)).load_for(spec).test.images
    transform = Compose([Resize(round(size / crop), InterpolationMode(resampling)), CenterCrop(size), PILToTensor()])
    files = sorted((photographs / "test").rglob("*.png"))
    assert torch.equal(images[:], torch.stack([transform(Image.open(file)) for file in files]))


def test_the_encoder_sees_them_unchanged(photographs: Path) -> None:
    """A checkpoint of 224 pixels gets pictures of 224 pixels, whatever the side of the run, and crops nothing more."""
    plan = build_plan(
        Request(
            methods=("torchvision/resnet18@random",),
            protocols=("knn",),
            dataset="folder",
            data_dir=str(photographs),
            results=photographs.parent,
        )
    )
    (job,) = plan.jobs
    assert plan.dataset_info.image_size == 64
    images = PlannedDatasets(plan).dataset_of(job).test.images[:]
    encoder = build_encoder(plan, job, CPU)
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in (job.external.input_spec.mean, job.external.input_spec.std)
    )  # type: ignore[union-attr]
    assert images.shape[1:] == (3, 224, 224)
    assert torch.allclose(encoder.prepare_images(images), (images / 255 - mean) / std)


def test_a_chosen_size_and_small_pictures_are_kept(photographs: Path) -> None:
    """With ``image_size`` the user decides, and small pictures have no more pixels than ``load`` gives."""
    assert Folder(data_dir=str(photographs)).has_larger_pictures()
    assert not Folder(data_dir=str(photographs), image_size=128).has_larger_pictures()
    for file in photographs.rglob("*.png"):
        Image.open(file).resize((32, 32)).save(file)
    assert not Folder(data_dir=str(photographs)).has_larger_pictures()


def test_one_run_serves_both(photographs: Path, results: Path) -> None:
    """Our encoder at 64 pixels and one of 224 are measured in one run, on the same pictures."""
    words = [
        "--methods",
        "random,torchvision/resnet18@random",
        "--protocol",
        "knn",
        "--set",
        "knn.k=2",
        "--taps",
        "conv5",
    ]
    data = ["--dataset", "folder", "--data-dir", str(photographs)]
    assert main([*words, *data, "--results", str(results)]) == 0
    found, _ = records.read_all(results / "records")
    assert sorted(record.status for record in found) == ["ok", "ok"]
    assert len({record.identity.dataset for record in found}) == 1
