"""What the runner keeps of a pretraining run."""

from __future__ import annotations

from sslbench.bench.run.encoder import pretext

WATCHED = (("accuracy", 0.4, 0.6), ("spread", 0.9, 0.04), ("spread", 0.05, 0.01))


def test_what_is_kept_of_the_pretext_task() -> None:
    """First and last losses, what was watched, and that a run whose embeddings hardly vary has collapsed."""
    losses = [4.0, *[3.0] * 37, 2.0, 1.0]
    plain, apart, alike = ([{}] * 38 + [{name: a}, {name: b}] for name, a, b in WATCHED)
    assert pretext(losses, plain) == {"first_loss": 4.0, "last_loss": 1.5, "accuracy": 0.5}
    assert pretext(losses, apart)["collapsed"] is False
    assert pretext(losses, alike)["collapsed"] is True
