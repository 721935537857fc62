"""The MLP probe."""

import torch

from sslbench.bench.evaluation.probes import linear_probe, mlp_probe


def test_mlp_probe_learns_what_no_linear_probe_can():
    """The MLP solves exclusive or, where the linear probe is at chance; a seed repeats it."""
    X = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).long()
    mlp = mlp_probe(X, y, X, 2, strengths=(1e-3, 1e-1), epochs=30, batch_size=50)
    assert (mlp.predictions == y).float().mean() > 0.95
    assert (linear_probe(X, y, X, 2).predictions == y).float().mean() < 0.7
    one, other = (mlp_probe(X, y, X, 2, epochs=1) for _ in range(2))
    assert torch.equal(one.scores, other.scores)
