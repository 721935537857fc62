"""Pictures for pretraining: random squares of the files, with more pixels for crops than the images have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslbench.bench.data import Dataset
from sslbench.bench.data._training_pictures import TrainingPictures
from sslbench.bench.data.folder import Folder
from sslbench.bench.errors import UserError
from sslbench.bench.images import augment
from sslbench.bench.images.larger import larger_copy_of
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.plan import Job, Plan, PlannedDatasets, Request

ALL = torch.arange(4)
STRIPES = 448  # pixels: side of the striped pictures
FINE = 3  # pixels from one of their stripes to the next: lost at 224 pixels, kept at 336


def save_pictures(root: Path, pixels: np.ndarray) -> Path:
    """Two classes with two equal pictures per split."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for k in range(2):
                Image.fromarray(pixels).save(root / split / name / f"{k}.png")
    return root


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """Pictures of 360 by 120 pixels: a red, a green and a blue square."""
    colours = np.repeat(np.eye(3, dtype=np.uint8) * 255, 120, axis=0)
    return save_pictures(tmp_path / "flags", np.broadcast_to(colours, (120, 360, 3)))


def plan_for(root: Path, *assignments: str, image_size: int | None = 100) -> Plan:
    """A plan of one trained and one untrained encoder."""
    request = Request(
        methods=("rotnet", "random"),
        protocols=("knn",),
        dataset="folder",
        data_dir=str(root),
        image_size=image_size,
        preset="smoke",
        assignments=("recipe.batch_size=4", *assignments),
        results=root.parent / "results",
    )
    return build_plan(request)


def job_of(plan: Plan, method: str) -> Job:
    return next(job for job in plan.jobs if job.name == method)


def for_pretraining(plan: Plan) -> Dataset:
    return PlannedDatasets(plan).pretraining_dataset(frozenset())


def test_all_of_a_wide_picture_is_seen(flags: Path) -> None:
    """Probes see the green centre alone; pretraining sees every place of the longer side, and labels stay."""
    plan = plan_for(flags)
    probing = PlannedDatasets(plan).probing_dataset().train
    assert probing.images[:].float().mean((0, 2, 3)).round().tolist() == [0, 255, 0]
    torch.manual_seed(0)
    train = for_pretraining(plan).train
    shares = torch.cat([train.images[ALL].float().div(255).mean((2, 3)) for _ in range(50)])  # (200, 3)
    assert shares.amax(0)[[0, 2]].min() > 0.9
    # A square at place p in [0, 1) of 240 pixels shows max(0, 1 - 2 p) of red, so a quarter of red on average.
    torch.testing.assert_close(shares.mean(0), torch.tensor([0.25, 0.5, 0.25]), atol=0.05, rtol=0)
    assert train.labels.tolist() == [0, 0, 1, 1]


def test_images_and_larger_copies_are_the_same_squares(flags: Path) -> None:
    """The copy has 1.5 times the side; the same seed gives the same squares, and a mask or slice selects as before."""
    images = for_pretraining(plan_for(flags)).train.images
    assert isinstance(images, TrainingPictures)
    torch.manual_seed(1)
    first = images[ALL]
    copies = larger_copy_of(first)
    assert copies is not None
    assert (first.shape, copies.shape, len(images)) == ((4, 3, 100, 100), (4, 3, 150, 150), 4)
    assert first.dtype == copies.dtype == torch.uint8
    difference = first.float().mean((2, 3)) - copies.float().mean((2, 3))
    assert difference.abs().max() < 2
    assert len({tuple(row) for row in first.float().mean((2, 3)).tolist()}) > 1  # each has a place of its own
    torch.manual_seed(1)
    assert torch.equal(images[ALL], first)
    torch.manual_seed(1)
    assert torch.equal(images[:], first)
    assert images[torch.tensor([True, False, True, False])].shape[0] == 2


def test_a_small_crop_keeps_what_the_views_side_loses(tmp_path: Path) -> None:
    """Stripes of three pixels in pictures of 448: a crop of 8 % at 224 shows them only with the larger copy."""
    stripes = (np.arange(STRIPES) % FINE == 0).astype(np.uint8) * 255
    root = save_pictures(tmp_path / "stripes", np.broadcast_to(stripes[None, :, None], (STRIPES, STRIPES, 3)))
    contrasts = []
    for margin in ("1", "1.5"):
        images = for_pretraining(plan_for(root, f"folder.crop_margin={margin}", image_size=224)).train.images
        torch.manual_seed(0)
        crops = augment.random_resized_crops(images[ALL], scale=(0.08, 0.08), ratio=(1.0, 1.0))
        contrasts.append(crops.std().item())
    # The file's own contrast is sqrt(2) / 3 = 0.47. Resizing to 336 weakens stripes this fine without removing them.
    assert contrasts[0] < 0.06
    assert contrasts[1] > 0.15


def test_only_pretraining_has_another_key(flags: Path, pets: Path) -> None:
    """The margin is part of the key of pretrained weights, where it changes pixels; data and untrained keys stay."""
    default, wider, off = (
        plan_for(flags, *rest) for rest in ((), ("folder.crop_margin=2",), ("folder.crop_margin=1",))
    )
    assert [plan.pretrain_info.crop_side for plan in (default, wider, off)] == [150, 200, None]
    assert len({job_of(plan, "rotnet").recipe_hash for plan in (default, wider, off)}) == 3
    assert len({job_of(plan, "random").recipe_hash for plan in (default, wider, off)}) == 1
    assert len({plan.dataset_info.identity for plan in (default, wider, off)}) == 1
    for root, size in ((flags, 32), (pets, None), (pets, 100)):  # decoded into the cache; no larger pictures
        plans = [plan_for(root, f"folder.crop_margin={margin}", image_size=size) for margin in (1, 1.5)]
        assert len({job_of(plan, "rotnet").recipe_hash for plan in plans}) == 1, (root, size)
        assert not isinstance(for_pretraining(plans[1]).train.images, TrainingPictures)


def test_a_picture_that_becomes_unreadable_is_named(flags: Path) -> None:
    """During training, as when pictures are read for probes."""
    images = for_pretraining(plan_for(flags)).train.images
    (flags / "train" / "dog" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 picture cannot be read: dog/0\.png \(not a picture\)"):
        images[ALL]


def test_a_margin_out_of_range_is_refused(flags: Path) -> None:
    """Below the views' side there is nothing to cut from; far above, bilinear reading would skip pixels."""
    for margin in (0.9, 2.1):
        with pytest.raises(UserError, match=rf"crop_margin = {margin}"):
            Folder(data_dir=str(flags), crop_margin=margin)
