"""The recipe of a variant."""

from __future__ import annotations

from sslbench.bench.training.recipe import Recipe


def test_a_larger_batch_keeps_the_budget_and_raises_the_rate() -> None:
    """Four times the batch, twice the learning rate, unless the variant sets one; other fields are the same."""
    recipe = Recipe(views=1000, batch_size=64, learning_rate=0.002, seed=3)
    assert recipe.for_variant({"batch_size": 256}) == Recipe(views=1000, batch_size=256, learning_rate=0.004, seed=3)
    assert recipe.for_variant({"batch_size": 16}).learning_rate == 0.001
    assert recipe.for_variant({"batch_size": 256, "learning_rate": 0.1}).learning_rate == 0.1
    assert recipe.for_variant({}) == recipe
