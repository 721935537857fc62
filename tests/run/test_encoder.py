"""What a record says about the pretext task."""

from __future__ import annotations

from sslbench.bench.run.encoder import pretext_summary

LOGGED = (("accuracy", 0.4, 0.6), ("spread", 0.9, 0.04), ("spread", 0.05, 0.01))


def test_the_summary_of_a_pretext_task() -> None:
    """First and last losses, means of what was logged, and a collapse of embeddings that hardly vary."""
    losses = [4.0, *[3.0] * 37, 2.0, 1.0]
    plain, spread, collapsed = ([{}] * 38 + [{name: a}, {name: b}] for name, a, b in LOGGED)
    assert pretext_summary(losses, plain) == {"first_loss": 4.0, "last_loss": 1.5, "accuracy": 0.5}
    assert pretext_summary(losses, spread)["collapsed"] is False
    assert pretext_summary(losses, collapsed)["collapsed"] is True
