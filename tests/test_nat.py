"""NAT: targets on the sphere, one for each image, shared out anew within batches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods import nat
from sslbench.methods._assignment import optimal_assignment
from sslbench.methods.nat import Nat, distances, pattern

FACTS = TrainInfo(num_images=12, num_classes=10, image_size=32)


def small(**settings: Any) -> Nat:
    torch.manual_seed(0)
    return Nat(ConvNet(32, width=4), FACTS, **{"dim": 3, "every": 1} | settings)


def batch(data: Dataset, indices: list[int]) -> Batch:
    return Batch(images=data.train.images[indices], indices=torch.tensor(indices))


def test_the_assignment_is_the_cheapest() -> None:
    """Of all orders of the columns the one whose costs sum lowest; where it is not due, the order as it is."""
    torch.manual_seed(0)
    for N in (2, 5):
        costs = torch.rand(N, N)
        found = optimal_assignment(costs, torch.tensor(True)).tolist()
        totals = {order: sum(costs[n, order[n]].item() for n in range(N)) for order in itertools.permutations(range(N))}
        assert tuple(found) == min(totals, key=totals.__getitem__)
        assert optimal_assignment(costs, torch.tensor(False)).tolist() == list(range(N))


def test_targets_lie_on_the_sphere_and_never_move(tiny: Dataset) -> None:
    """Unit vectors in all directions, as many as images, one each; a step moves none of them."""
    method = small()
    before = method.targets.clone()
    assert before.shape == (12, 3)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(12))
    assert sorted(method.owned.tolist()) == list(range(12))
    method.loss(batch(tiny, [0, 3, 7])).backward()
    assert torch.equal(method.targets, before)
    many = Nat(ConvNet(32, width=4), TrainInfo(num_images=4000, num_classes=10, image_size=32), dim=3).targets
    assert many.mean(0).norm() < 0.05


def test_the_loss_matches_a_loop(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean squared distance to the targets of the batch's own images, in the order that makes it least."""
    method = small().eval()
    monkeypatch.setattr(method, "views", lambda images: images.float() / 255)
    torch.nn.init.normal_(method.head.weight)
    images = batch(tiny, [9, 2, 5, 4])
    owned = method.owned.clone()
    loss = method.loss(images)
    z = []
    for image in images.images:
        output = method.head(method.encoder(image.unsqueeze(0) / 255))[0].tolist()
        length = sum(x * x for x in output) ** 0.5
        z.append([x / length for x in output])
    pool = [int(owned[i]) for i in (9, 2, 5, 4)]
    best, order = min(
        (
            sum(
                sum((a - b) ** 2 for a, b in zip(z[n], method.targets[pool[m]].tolist(), strict=True))
                for n, m in enumerate(order)
            ),
            order,
        )
        for order in itertools.permutations(range(4))
    )
    assert loss.item() == pytest.approx(best / 4, rel=1e-3)
    assert method.owned[[9, 2, 5, 4]].tolist() == [pool[m] for m in order]
    others = [i for i in range(12) if i not in (9, 2, 5, 4)]
    assert torch.equal(method.owned[others], owned[others])


def test_a_swap_lowers_the_distance(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no swap is due the same outputs are farther from the targets they have."""
    monkeypatch.setattr(Nat, "views", lambda _, images: images.float() / 255)
    images = batch(tiny, list(range(12)))
    swapped, kept = small().eval(), small(every=2).eval()
    kept.seen += 12  # the second of two epochs
    for method in (swapped, kept):
        torch.manual_seed(1)
        torch.nn.init.normal_(method.head.weight, std=10)
    assert swapped.loss(images) < kept.loss(images)


def test_targets_are_swapped_every_few_epochs(tiny: Dataset) -> None:
    """With ``every=3`` in the first, fourth and seventh epoch, and each image keeps a target of its own."""
    method = small(every=3)
    changed = []
    for _ in range(7):
        before = method.owned.clone()
        for start in range(0, 12, 4):
            method.loss(batch(tiny, list(range(start, start + 4))))
        changed.append(not torch.equal(method.owned, before))
        assert sorted(method.owned.tolist()) == list(range(12))
    assert changed == [True, False, False, True, False, False, True]


def test_views_are_grey(tiny: Dataset) -> None:
    """``grey=1`` takes the colours of every view away, ``grey=0`` of none."""
    torch.manual_seed(0)
    for grey, all_grey in ((1.0, True), (0.0, False)):
        views = small(grey=grey).views(tiny.train.images[:8])
        torch.testing.assert_close(views.std(1).amax((1, 2)) < 1e-5, torch.full((8,), all_grey))


def test_distances_are_squared() -> None:
    """Between unit vectors: 0 where they agree, 2 at right angles, 4 where they are opposite."""
    z = torch.eye(2)
    expected = torch.tensor([[0.0, 2.0, 4.0], [2.0, 0.0, 2.0]])
    torch.testing.assert_close(distances(z, torch.stack([z[0], z[1], -z[0]])), expected)


def test_vectors_are_shown_as_cells() -> None:
    """Number k of a vector is cell k, row by row; what is left of the square is grey."""
    vectors = torch.nn.functional.normalize(torch.randn(2, 7), dim=1)
    picture = pattern(vectors)
    assert picture.shape == (2, 3, 3, 3)
    shown = picture[:, 1].flatten(1)
    assert torch.equal(shown[:, :7].argsort(1), vectors.argsort(1))
    assert (shown[:, 7:] == 0.5).all()


def test_what_is_shown_has_all_outputs(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image is shown with a target that it has alone, and never as its own neighbour."""
    shown: list[Tensor] = []
    monkeypatch.setattr(nat, "pattern", lambda vectors: (shown.append(vectors), pattern(vectors))[1])
    method = small().eval()
    with torch.no_grad():
        view, *_, nearest = method.panels(batch(tiny, list(range(6))))
    z, targets = shown
    assert z.shape == targets.shape == (6, 3)
    for n in range(6):
        assert not torch.equal(view.images[n], nearest.images[n])
        assert any(torch.equal(target, targets[n]) for target in method.targets)
