"""The memory bank: updates, random draws, and cosines with its vectors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslbench.methods._bank import Bank, inner_products_at


def unit_vectors(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=-1)


def test_a_bank_starts_with_unit_vectors() -> None:
    """There is a different vector of length 1 for each image."""
    torch.manual_seed(0)
    bank = Bank(7, 5, 0.5)
    assert bank.vectors.shape == (7, 5)
    torch.testing.assert_close(bank.vectors.norm(dim=1), torch.ones(7))
    assert len(bank.vectors.unique(dim=0)) == 7


def test_an_update_matches_a_loop() -> None:
    """v <- m v + (1 - m) f, normalised, for the images of the batch; all other vectors stay."""
    torch.manual_seed(0)
    bank, f = Bank(6, 3, 0.7), unit_vectors(2, 3)
    bank.seen.fill_(True)
    before = bank.vectors.tolist()
    bank.update(torch.tensor([4, 1]), f.requires_grad_())
    for place, embedding in ((4, f[0].tolist()), (1, f[1].tolist())):
        mixed = [0.7 * v + 0.3 * e for v, e in zip(before[place], embedding, strict=True)]
        length = math.sqrt(sum(x * x for x in mixed))
        before[place] = [x / length for x in mixed]
    for row, want in zip(bank.vectors.tolist(), before, strict=True):
        assert row == pytest.approx(want, abs=1e-6)
    assert not bank.vectors.requires_grad


def test_the_first_embedding_replaces_the_random_vector() -> None:
    """The first embedding of an image is stored unchanged; later ones are averaged in."""
    torch.manual_seed(0)
    bank, indices = Bank(4, 3, 0.5), torch.tensor([3, 0])
    first, second = unit_vectors(2, 3), unit_vectors(2, 3)
    bank.update(indices, first)
    torch.testing.assert_close(bank.vectors[indices], first)
    assert bank.seen.tolist() == [True, False, False, True]
    bank.update(indices, second)
    torch.testing.assert_close(bank.vectors[indices], F.normalize(first + second, dim=1))


def test_candidates_are_drawn_uniformly() -> None:
    """All images, or all but the image itself, are drawn equally often."""
    torch.manual_seed(0)
    bank, indices = Bank(5, 2, 0.5), torch.tensor([3, 0])
    for places, share in ((bank.draw_from_all(indices, 4000), 1 / 5), (bank.draw_from_others(indices, 4000), 1 / 4)):
        assert places.shape == (2, 4000)
        for own, drawn in zip(indices.tolist(), places, strict=True):
            shares = torch.bincount(drawn, minlength=5) / 4000
            assert len(shares) == 5
            for place, found in enumerate(shares.tolist()):
                want = 0 if share == 1 / 4 and place == own else share
                assert found == pytest.approx(want, abs=0.04)


def test_all_others_are_candidates_once() -> None:
    """With None, each image gets every other image once, and never itself."""
    places = Bank(5, 2, 0.5).draw_from_others(torch.tensor([3, 0]), None)
    assert [sorted(row) for row in places.tolist()] == [[0, 1, 2, 4], [1, 2, 3, 4]]


@pytest.mark.parametrize("K", [1, 2, 6])
def test_products_match_a_loop(K: int) -> None:
    """Each query is multiplied by the vectors at its places, whichever of the two ways is cheaper."""
    torch.manual_seed(0)
    queries, vectors, places = unit_vectors(2, 3), unit_vectors(5, 3), torch.randint(5, (2, K))
    assert (len(vectors) <= K * 3) is (K > 1)  # both ways are taken
    found = inner_products_at(queries, vectors, places)
    for n in range(2):
        for k in range(K):
            want = sum(a * b for a, b in zip(queries[n].tolist(), vectors[places[n, k]].tolist(), strict=True))
            assert found[n, k].item() == pytest.approx(want, abs=1e-6)
    torch.testing.assert_close(inner_products_at(queries, vectors), queries @ vectors.T)


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def test_cosines_match_a_loop() -> None:
    """They are the cosines with the image's own vector and those at its places, or with all vectors in order."""
    torch.manual_seed(0)
    bank, queries, indices = Bank(6, 3, 0.5), unit_vectors(3, 3), torch.tensor([4, 1, 5])
    places = torch.randint(6, (3, 20))
    drawn, everything = bank.cosines(queries, indices, places), bank.cosines(queries, indices)
    for n, image in enumerate(indices.tolist()):
        cosines = [dot(queries[n], vector) for vector in bank.vectors]
        assert everything[n].tolist() == pytest.approx(cosines, abs=1e-6)
        assert drawn[n].tolist() == pytest.approx([cosines[i] for i in (image, *places[n].tolist())], abs=1e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_new_images_send_no_gradient(drawn: bool) -> None:
    """The query of an image that the bank has not seen yet gets no gradient."""
    torch.manual_seed(0)
    bank, queries, indices = Bank(6, 3, 0.5), unit_vectors(4, 3).requires_grad_(), torch.tensor([4, 1, 5, 0])
    bank.seen[[4, 0, 2]] = True
    places = torch.randint(6, (4, 3)) if drawn else None
    bank.cosines(queries, indices, places).square().sum().backward()
    assert queries.grad is not None
    assert queries.grad.any(1).tolist() == [True, False, False, True]


def test_ranks_count_nearer_vectors() -> None:
    """The image itself has rank 1 if no other vector is nearer, and rank 2 if one is."""
    bank = Bank(3, 2, 0.5)
    bank.vectors.copy_(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))
    captions = bank.rank_captions(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert captions == ("own image: rank 1 of 3\ncosine 1.00", "own image: rank 2 of 3\ncosine 0.60")
