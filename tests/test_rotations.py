"""Ablations: a protocol's variants become encoders of their own, and published numbers stand beside them."""

from __future__ import annotations

import pytest

from bench.errors import UserError
from bench.planning import Request, plan
from bench.published import beside

ANGLES = {(0, 90, 180, 270), (0, 45, 90, 135, 180, 225, 270, 315), (0, 180), (90, 270)}


def test_each_variant_is_pretrained_once() -> None:
    """Four sets of angles are four encoders; the usual one is shared with the plain probe of the same method."""
    planned = plan(Request(methods=("rotnet", "jigsaw"), protocols=("linear", "rotations")))
    turned = [job for job in planned.jobs if job.method.name == "rotnet"]
    assert {job.settings["angles"] for job in turned} == ANGLES
    assert [[cell.protocol.name for cell in job.cells] for job in turned] == [
        ["linear", "rotations"],
        ["rotations"],
        ["rotations"],
        ["rotations"],
    ]
    assert [cell.variant for cell in turned[0].cells] == ["", "0,90,180,270"]
    assert len({job.recipe_hash for job in planned.jobs}) == 5
    (other,) = (job for job in planned.jobs if job.method.name == "jigsaw")
    assert [cell.protocol.name for cell in other.cells] == ["linear"]


def test_a_variant_is_a_declared_deviation() -> None:
    """Angles that are not the paper's stand under the table."""
    jobs = plan(Request(methods=("rotnet",), protocols=("rotations",))).jobs
    assert jobs[0].deviations == {}
    assert jobs[2].deviations == {"angles": (0, 180)}


def test_a_method_that_is_not_compared_is_refused() -> None:
    """An ablation without its method is one line that names it."""
    with pytest.raises(UserError, match="compares settings of rotnet"):
        plan(Request(methods=("jigsaw",), protocols=("rotations",)))


def test_published_numbers_of_an_ablation_stand_beside_any_tap() -> None:
    """The published block is named where ours is another; numbers of a plain probe stay with their tap."""
    found = beside("rotations", {"rotnet"}, ["conv4"], "accuracy")
    assert found is not None
    assert {variant: value for (_, variant, _), value in found.values.items()} == {
        "0,90,180,270": 0.8906,
        "0,45,90,135,180,225,270,315": 0.8851,
        "0,180": 0.8746,
        "90,270": 0.8552,
    }
    assert {tap for *_, tap in found.values} == {"conv4"}
    assert "at conv2" in found.setting
    assert beside("linear", {"rotnet"}, ["conv9"], "accuracy") is None
