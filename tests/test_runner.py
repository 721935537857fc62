"""What the runner keeps of a pretraining run."""

from __future__ import annotations

from bench.runner import pretext


def test_what_is_kept_of_the_pretext_task() -> None:
    """First and last losses, what was watched, and that a run whose embeddings hardly vary has collapsed."""
    losses = [4.0, *[3.0] * 37, 2.0, 1.0]
    assert pretext(losses, {"accuracy": 0.5}) == {"first_loss": 4.0, "last_loss": 1.5, "accuracy": 0.5}
    assert pretext(losses, {"spread": 0.9})["collapsed"] is False
    assert pretext(losses, {"spread": 0.01})["collapsed"] is True
