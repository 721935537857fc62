"""SimCLR: NT-Xent over all views of the batch, fewer negatives, and the projection heads of its ablation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._contrast import draw_negatives, info_nce
from sslbench.methods._views import two_views
from sslbench.methods.simclr import SimCLR, nt_xent_logits

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: Any) -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 5} | settings)


def nt_xent_by_loops(z: list[list[float]], temperature: float) -> float:
    """Equation 1, averaged over all views; views n and N + n are of the same image."""
    n = len(z) // 2
    total = 0.0
    for i, row in enumerate(z):
        scores = {
            k: math.exp(sum(a * b for a, b in zip(row, other, strict=True)) / temperature)
            for k, other in enumerate(z)
            if k != i
        }
        total -= math.log(scores[(i + n) % (2 * n)] / sum(scores.values()))
    return total / len(z)


def nt_xent(z: Tensor, temperature: float, negatives: int | None = None) -> float:
    return info_nce(*draw_negatives(*nt_xent_logits(z, temperature), negatives), {}).item()


def test_nt_xent_matches_a_loop() -> None:
    """Cross-entropy of the matching view among a view's candidates is the paper's equation 1 over all 2 N views."""
    z = F.normalize(torch.randn(8, 3), dim=1)
    assert nt_xent(z, 0.3) == pytest.approx(nt_xent_by_loops(z.tolist(), 0.3), abs=1e-5)


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """Unit projections of both views, encoded one by one, give the same loss, accuracy and bound."""
    method = make_method(temperature=0.02).eval()  # low, since untrained embeddings are similar
    images = tiny.train.images[:3]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(3)))
    torch.manual_seed(1)
    z = []
    for view in two_views(images, method.augmentation):
        values = method.head(method.encoder(view.unsqueeze(0)))[0].tolist()
        length = math.sqrt(sum(x * x for x in values))
        z.append([x / length for x in values])
    assert loss.item() == pytest.approx(nt_xent_by_loops(z, 0.02), abs=1e-3)
    right = []
    for i, row in enumerate(z):
        likeness = {k: sum(a * b for a, b in zip(row, z[k], strict=True)) for k in range(6) if k != i}
        right.append(max(likeness, key=likeness.__getitem__) == (i + 3) % 6)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / 6)
    assert method.logged["bound"].item() == pytest.approx(math.log(5) - loss.item(), abs=1e-5)


def test_negatives_are_drawn_from_other_images() -> None:
    """With ``negatives`` each view keeps so many different ones of the 2 N - 2 others, drawn at random every time."""
    N, K = 4, 3
    z = F.normalize(torch.randn(2 * N, 16), dim=1)
    likeness = (z @ z.T).tolist()
    met: list[set[int]] = [set() for _ in range(2 * N)]
    for _ in range(60):
        logits, right = draw_negatives(*nt_xent_logits(z, 1.0), K)
        assert not right.any()
        assert logits.shape == (2 * N, 1 + K)
        for i, (match, *others) in enumerate(logits.tolist()):
            assert match == pytest.approx(likeness[i][(i + N) % (2 * N)], abs=1e-6)
            kept = [min(range(2 * N), key=lambda k, i=i, x=x: abs(likeness[i][k] - x)) for x in others]  # type: ignore[misc]
            assert len(set(kept)) == K
            met[i] |= set(kept)
    assert met == [set(range(2 * N)) - {i, (i + N) % (2 * N)} for i in range(2 * N)]


def test_a_large_number_of_negatives_keeps_all() -> None:
    """A number not below that of the others gives the loss without the setting; a smaller one does not."""
    z = F.normalize(torch.randn(8, 3), dim=1)
    whole = nt_xent(z, 0.5)
    for negatives in (6, 7, 1000):
        assert nt_xent(z, 0.5, negatives) == pytest.approx(whole)
    assert nt_xent(z, 0.5, 5) < whole


def test_the_bound_depends_on_the_number_of_candidates(tiny: Dataset) -> None:
    """It is the log of the number of candidates minus the loss."""
    batch = Batch(images=tiny.train.images[:8], indices=torch.arange(8))
    for negatives, candidates in ((None, 15), (1, 2), (6, 7), (99, 15)):
        method = make_method(negatives=negatives)
        loss = method.loss(batch).item()
        assert method.logged["bound"].item() == pytest.approx(math.log(candidates) - loss, abs=1e-5)


def test_heads_are_those_of_the_ablation(tiny: Dataset) -> None:
    """``none`` is the embedding, ``linear`` one matrix, and ``mlp`` has a hidden layer as wide as the embedding."""
    heads = {name: make_method(projection=name) for name in ("none", "linear", "mlp")}
    layers = {
        name: [tuple(m.weight.shape) for m in method.head.modules() if isinstance(m, nn.Linear)]
        for name, method in heads.items()
    }
    assert layers == {"none": [], "linear": [(5, 32)], "mlp": [(32, 32), (5, 32)]}
    images = tiny.train.images[:2]
    plain = heads["none"].eval()
    assert torch.equal(plain.project(images), F.normalize(plain.encoder(images), dim=1))
