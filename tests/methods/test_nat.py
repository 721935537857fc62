"""NAT: targets on the sphere, one per image, which the images of a batch exchange."""

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
from sslbench.methods.nat import Nat, draw_vectors, squared_distances

TRAIN_INFO = TrainInfo(num_images=12, num_classes=10, image_size=32)


def make_method(**settings: Any) -> Nat:
    torch.manual_seed(0)
    return Nat(ConvNet(32, width=4), TRAIN_INFO, **{"dim": 3, "every": 1} | settings)


def make_batch(data: Dataset, indices: list[int]) -> Batch:
    return Batch(images=data.train.images[indices], indices=torch.tensor(indices))


def test_the_assignment_is_the_cheapest() -> None:
    """It has the lowest cost of all permutations; if no assignment is due, nothing is permuted."""
    torch.manual_seed(0)
    for N in (2, 5):
        costs = torch.rand(N, N)
        found = optimal_assignment(costs, torch.tensor(True)).tolist()
        totals = {order: sum(costs[n, order[n]].item() for n in range(N)) for order in itertools.permutations(range(N))}
        assert tuple(found) == min(totals, key=totals.__getitem__)
        assert optimal_assignment(costs, torch.tensor(False)).tolist() == list(range(N))


def test_targets_are_on_the_sphere_and_fixed(tiny: Dataset) -> None:
    """They are unit vectors in all directions, one per image, and a step changes none of them."""
    method = make_method()
    before = method.targets.clone()
    assert before.shape == (12, 3)
    torch.testing.assert_close(before.norm(dim=1), torch.ones(12))
    assert sorted(method.owned.tolist()) == list(range(12))
    method.loss(make_batch(tiny, [0, 3, 7])).backward()
    assert torch.equal(method.targets, before)
    many = Nat(ConvNet(32, width=4), TrainInfo(num_images=4000, num_classes=10, image_size=32), dim=3).targets
    assert many.mean(0).norm() < 0.05


def test_the_loss_matches_a_loop(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the mean squared distance to the batch's targets, assigned such that this distance is smallest."""
    method = make_method().eval()
    monkeypatch.setattr(method, "draw_views", lambda images: images.float() / 255)
    torch.nn.init.normal_(method.head.weight)
    images = make_batch(tiny, [9, 2, 5, 4])
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


def test_an_exchange_lowers_the_distance(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no exchange is due, the same outputs are farther from their targets."""
    monkeypatch.setattr(Nat, "draw_views", lambda _, images: images.float() / 255)
    images = make_batch(tiny, list(range(12)))
    swapped, kept = make_method().eval(), make_method(every=2).eval()
    kept.seen += 12  # the second of two epochs
    for method in (swapped, kept):
        torch.manual_seed(1)
        torch.nn.init.normal_(method.head.weight, std=10)
    assert swapped.loss(images) < kept.loss(images)


def test_targets_are_exchanged_every_few_epochs(tiny: Dataset) -> None:
    """With ``every=3`` it happens in the first, fourth and seventh epoch, and each image always has its own target."""
    method = make_method(every=3)
    changed = []
    for _ in range(7):
        before = method.owned.clone()
        for start in range(0, 12, 4):
            method.loss(make_batch(tiny, list(range(start, start + 4))))
        changed.append(not torch.equal(method.owned, before))
        assert sorted(method.owned.tolist()) == list(range(12))
    assert changed == [True, False, False, True, False, False, True]


def test_views_are_grey(tiny: Dataset) -> None:
    """``grey=1`` removes the colours of every view, ``grey=0`` those of none."""
    torch.manual_seed(0)
    for grey, all_grey in ((1.0, True), (0.0, False)):
        views = make_method(grey=grey).draw_views(tiny.train.images[:8])
        torch.testing.assert_close(views.std(1).amax((1, 2)) < 1e-5, torch.full((8,), all_grey))


def test_distances_are_squared() -> None:
    """They are 0 for equal unit vectors, 2 for orthogonal and 4 for opposite ones."""
    z = torch.eye(2)
    expected = torch.tensor([[0.0, 2.0, 4.0], [2.0, 0.0, 2.0]])
    torch.testing.assert_close(squared_distances(z, torch.stack([z[0], z[1], -z[0]])), expected)


def test_vectors_are_shown_as_cells() -> None:
    """Number k of a vector is cell k, row by row; unused cells are grey."""
    vectors = torch.nn.functional.normalize(torch.randn(2, 7), dim=1)
    picture = draw_vectors(vectors)
    assert picture.shape == (2, 3, 3, 3)
    shown = picture[:, 1].flatten(1)
    assert torch.equal(shown[:, :7].argsort(1), vectors.argsort(1))
    assert (shown[:, 7:] == 0.5).all()


def test_panels_show_all_outputs_with_different_targets(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image is shown with one of the targets, and with the nearest output of a different image."""
    shown: list[Tensor] = []
    monkeypatch.setattr(nat, "draw_vectors", lambda vectors: (shown.append(vectors), draw_vectors(vectors))[1])
    method = make_method().eval()
    with torch.no_grad():
        view, *_, nearest = method.panels(make_batch(tiny, list(range(6))))
    z, targets = shown
    assert z.shape == targets.shape == (6, 3)
    for n in range(6):
        assert not torch.equal(view.images[n], nearest.images[n])
        assert any(torch.equal(target, targets[n]) for target in method.targets)
