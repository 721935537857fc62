"""The option --limit: which images are used, and what a record says of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from sslbench.bench.cli import main
from sslbench.bench.data import Dataset
from sslbench.bench.errors import UserError
from sslbench.bench.planning.build import build_plan
from sslbench.bench.planning.limit import balanced_indices, limited_dataset
from sslbench.bench.planning.plan import Plan, PlannedDatasets, Request
from sslbench.bench.records import store as records
from sslbench.bench.report.card import rerun_command
from sslbench.bench.report.groups import group_comparable, measured_where
from sslbench.bench.run.runner import measure_missing

QUICK = ("synthetic.train=200", "synthetic.test=50", "knn.k=5")


def plan_with(limit: int | None, results: Path = Path("nowhere"), method: str = "random") -> Plan:
    """A plan on 200 and 50 images, on at most ``limit`` of each."""
    return build_plan(
        Request(
            methods=(method,),
            protocols=("knn",),
            limit=limit,
            preset="smoke",
            assignments=(*QUICK, "recipe.batch_size=16"),
            results=results,
        )
    )


def test_classes_have_as_equal_numbers_as_there_are_images() -> None:
    """Of 6, 3 and 1 images, 7 are 3, 3 and 1; of 5 images, 2, 2 and 1: the rest goes to the first classes."""
    labels = torch.tensor([0, 0, 1, 0, 2, 0, 1, 0, 1, 0])
    assert labels[balanced_indices(labels, 7)].bincount().tolist() == [3, 3, 1]
    assert labels[balanced_indices(labels, 5)].bincount().tolist() == [2, 2, 1]
    assert labels[balanced_indices(labels, 4)].bincount().tolist() == [2, 1, 1]


def test_indices_rise_and_a_smaller_limit_chooses_among_them() -> None:
    """The choice is always the same, and nested."""
    labels = torch.arange(100) % 7
    few, many = balanced_indices(labels, 20), balanced_indices(labels, 50)
    assert few.tolist() == sorted(set(few.tolist())) == balanced_indices(labels, 20).tolist()
    assert set(few.tolist()) < set(many.tolist())
    assert few.tolist() != list(range(20))  # not the first ones, which may be alike


def test_a_data_set_keeps_images_and_labels_together(tiny: Dataset) -> None:
    """Each split has at most so many images; one that has fewer is unchanged."""
    limited = limited_dataset(tiny, 30)
    assert (len(limited.train), len(limited.test)) == (30, len(tiny.test)) == (30, 20)
    assert limited.test is tiny.test
    assert tiny.train.clips is not None
    assert limited.train.clips is not None
    assert torch.equal(limited.train.clips, tiny.train.clips)  # six, which are fewer than 30
    few = limited_dataset(tiny, 3).train
    assert few.clips is not None
    assert few.clip_masks is not None
    assert torch.equal(few.clips, tiny.train.clips[::2])
    assert torch.equal(few.clip_masks, tiny.train.clip_masks[::2])  # type: ignore[index]
    chosen = balanced_indices(tiny.train.labels, 30)
    everything = slice(None)
    assert torch.equal(limited.train.images[everything], tiny.train.images[chosen])
    assert torch.equal(limited.train.labels, tiny.train.labels[chosen])


def test_the_limit_is_part_of_the_data_but_not_of_pretraining() -> None:
    """Cells on other numbers of images have other keys, on the same pretrained encoder."""
    whole, few = plan_with(None, method="rotnet"), plan_with(100, method="rotnet")
    assert (few.dataset_info.train_images, few.dataset_info.test_images) == (100, 50)
    assert few.dataset_info.per_class == 10
    assert few.pretrain_info == whole.pretrain_info == whole.dataset_info
    assert few.jobs[0].recipe_hash == whole.jobs[0].recipe_hash
    keys = {plan_with(limit, method="rotnet").jobs[0].cells[0].key for limit in (None, 40, 100)}
    assert len(keys) == 3
    datasets = PlannedDatasets(few)
    assert (len(datasets.probing_dataset().train), len(datasets.pretraining_dataset(frozenset()).train)) == (100, 200)


def test_a_limit_above_all_images_changes_nothing() -> None:
    """The cell is the one without the option, so that it is measured once."""
    whole, same = plan_with(None), plan_with(200)
    assert same.jobs[0].cells[0].key == whole.jobs[0].cells[0].key
    assert same.request.limit is None


def test_fewer_images_than_classes_are_a_mistake() -> None:
    """Each class needs an image."""
    with pytest.raises(UserError, match=r"--limit 9: synthetic has 10 classes.*use 10 or more"):
        plan_with(9)


def test_records_say_the_limit_and_are_not_ranked_with_the_whole(results: Path) -> None:
    """Two tables, of which one names the limit, and the command that measures the cell again has the option."""
    for limit in (None, 40):
        assert list(measure_missing(plan_with(limit, results)))
    found, _ = records.read_all(results / "records")
    (limited,) = (record for record in found if "limit" in record.settings.dataset)
    assert (limited.card["train_images"], limited.card["test_images"]) == (40, 40)
    assert limited.settings.dataset["limit"] == 40
    titles = {measured_where(group) for group in group_comparable(found)}
    assert titles == {
        "on synthetic, convnet, smoke",
        "on synthetic (at most 40 images per split), convnet, smoke",
    }
    again = shlex.split(rerun_command(limited).replace("python run_bench.py", ""))
    assert again[again.index("--limit") + 1] == "40"
    assert not any("limit=" in word for word in again)


@pytest.mark.parametrize("text", ["0", "-5", "many"])
def test_a_limit_that_is_no_number_of_images(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, before any work."""
    assert main(["--methods", "random", "--limit", text]) == 2
    error = capsys.readouterr().err
    assert "--limit" in error
    assert error.count("\n") == 1
