"""What makes two records comparable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sslbench.bench.records.comparable import (
    budget,
    changed_values,
    conditions,
    has_no_budget,
    network,
    obstacle,
    overview_conditions,
    planned_conditions,
    question,
    settings_by_name,
)
from sslbench.bench.records.record import ExternalCheckpoint
from tests.records.builders import accuracy_record, changed_record, full_record

BASE = accuracy_record("rotnet", 0, 0.5, 0.5)


def test_method_and_seed_never_matter() -> None:
    """Two methods are what is compared, and seeds are averaged."""
    other = accuracy_record("jigsaw", 1, 0.7, 0.7, settings={"grid": 3})
    for rule in (question, conditions, planned_conditions, budget, overview_conditions, network):
        assert rule(other) == rule(BASE), rule.__name__
    assert obstacle(BASE, other) == ""


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"cell": {"encoder": "nin"}}, {conditions, planned_conditions, overview_conditions, network}),
        ({"settings": {"encoder": {"width": 8}}}, {conditions, planned_conditions, overview_conditions, network}),
        ({"cell": {"protocol": "knn"}}, {question, conditions, planned_conditions}),
        ({"settings": {"protocol": {"k": 5}}}, {question, planned_conditions}),
        ({"card": {"head": "mlp"}}, {conditions}),
        ({"identity": {"dataset": "b"}}, {question, conditions, planned_conditions, overview_conditions}),
        ({"settings": {"dataset": {"targets": {"masks": "b"}}}}, {question, conditions, planned_conditions}),
        ({"identity": {"pretrain_dataset": "b"}}, {budget, overview_conditions}),
        ({"cell": {"preset": "paper"}}, {budget, overview_conditions}),
        ({"settings": {"recipe": {"views": 1, "seed": 0}}}, {budget, overview_conditions}),
        ({"settings": {"pretrain_dataset": {"crop_margin": 1.5}}}, {budget, overview_conditions}),
        ({"settings": {"pretrain_dataset": {"crop_margin": 1.0}}}, set()),
    ],
)
def test_each_rule_covers_its_parts(changes: dict[str, dict[str, object]], rules: set[object]) -> None:
    """A change matters to the rules that cover it and to no other."""
    changed = changed_record(BASE, **changes)
    every = (question, conditions, planned_conditions, budget, overview_conditions, network)
    assert {rule for rule in every if rule(changed) != rule(BASE)} == rules


def test_a_varied_setting_of_the_recipe_counts_with_its_unvaried_value() -> None:
    """What an ablation varies does not separate its records."""
    recipe = {"views": 320_000, "batch_size": 64, "seed": 0}
    varied = changed_record(BASE, settings={"recipe": recipe, "unvaried_recipe": {"batch_size": 128}})
    assert budget(varied) == budget(changed_record(BASE, settings={"recipe": recipe | {"batch_size": 128}}))


def test_weights_without_a_recipe_have_no_budget() -> None:
    """Those are untrained weights, weights from a file and external checkpoints."""
    kinds = ("untrained", "file", "published", "bundled", "cached", "pretrained")
    without = [has_no_budget(changed_record(BASE, source={"kind": kind})) for kind in kinds]
    assert without == [True, True, True, False, False, False]
    assert has_no_budget(full_record())
    assert network(full_record())["input"]["size"] == 224


def test_an_obstacle_names_what_differs() -> None:
    """Other data and another card are reasons not to compare two measurements of a cell."""
    assert obstacle(BASE, changed_record(BASE, identity={"dataset": "bb"})) == "other test data: aa → bb"
    assert obstacle(BASE, changed_record(BASE, card={**BASE.card, "head": "mlp"})) == (
        "other protocol card: head linear → mlp"
    )
    assert changed_values({"a": 1, "b": 2}, {"b": 3}) == "a 1 → None; b 2 → 3"
    assert settings_by_name(BASE) == {"recipe.views": 320_000}


@pytest.mark.parametrize("default", ["average", None])
def test_a_checkpoints_own_reading_is_the_same_question(default: str | None) -> None:
    """Read at its class token by default, it is asked what others are asked; a reading that was set is another."""
    usual = {"pooling": default} if default else {}
    checkpoint = ExternalCheckpoint(token="dino@vit_s16", reading={"pooling": "token", "default": default})
    settings = {"protocol": dict(BASE.settings.protocol)}
    other = changed_record(BASE, settings={"protocol": settings["protocol"] | usual}, card=dict(BASE.card) | usual)
    read = {"pooling": "token"}
    own = changed_record(
        BASE,
        settings={"protocol": settings["protocol"] | read},
        card=dict(BASE.card) | read,
        source={"kind": "published", "checkpoint": checkpoint},
    )
    for rule in (question, conditions, planned_conditions):
        assert rule(own) == rule(other), rule.__name__
    unasked = replace(own, source=replace(own.source, checkpoint=replace(checkpoint, reading={})))
    for rule in (question, conditions, planned_conditions):
        assert rule(unasked) != rule(other), rule.__name__
