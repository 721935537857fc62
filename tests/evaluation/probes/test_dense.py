"""What is asked at every position: labels and means of positions, rows, and answers enlarged to full resolution."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.data import VOID
from sslbench.bench.evaluation import probes


def test_labels_of_positions_agree_with_a_loop() -> None:
    """The most frequent known class of each 2 x 2 block; a block of unknown pixels stays unknown."""
    masks = torch.randint(0, 3, (4, 6, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    masks[0, :2, :2] = VOID
    masks[1, 0, 0] = VOID
    found = probes.labels_of_positions(masks, (3, 2), VOID)
    assert found.shape == (4, 3, 2)
    assert found[0, 0, 0] == VOID
    for n in range(4):
        for row in range(3):
            for column in range(2):
                pixels = masks[n, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().tolist()
                counts = {label: pixels.count(label) for label in pixels if label != VOID}
                if counts:
                    assert counts[int(found[n, row, column])] == max(counts.values())


def test_rows_and_means_are_of_the_same_positions() -> None:
    """Row r of maps is the position whose mean target is in row r."""
    maps = torch.rand(2, 3, 2, 2)
    rows = probes.position_rows(maps)
    assert rows.shape == (8, 3)
    assert torch.equal(rows[4 + 2], maps[1, :, 1, 0])
    means = probes.means_of_positions(maps.repeat_interleave(3, 2).repeat_interleave(3, 3), (2, 2))
    torch.testing.assert_close(probes.position_rows(means), rows)


def test_pictures_are_held_out_whole() -> None:
    """All positions of a picture are on one side, and the share of pictures is the one asked for."""
    keep = probes.rows_of_other_pictures(20, 9, 0.1).view(20, 9)
    assert torch.equal(keep.all(1), keep.any(1))
    assert int((~keep[:, 0]).sum()) == 2


def test_answers_are_enlarged_bilinearly() -> None:
    """Of 70 pictures, in order: a constant answer stays, and between two positions it changes linearly."""
    maps = torch.rand(70, 3, 2, 2)
    seen = 0
    for where, answers in probes.iter_enlarged(maps, lambda rows: rows[:, :1], (8, 8)):
        assert answers.shape[1:] == (1, 8, 8)
        torch.testing.assert_close(answers[:, 0, 0, 0], maps[where, 0, 0, 0])
        steps = answers[:, 0, 0, 2:6].diff(dim=1)
        torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))
        seen += len(answers)
    assert seen == 70


@pytest.mark.parametrize("images", [20, 400])
def test_ridge_probe_finds_a_linear_map(images: int) -> None:
    """With few and many images; a useless feature does not hurt, and the smallest error decides the penalty."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 1.0, 0.0]) + 3
    weights = torch.tensor([[1.0, 0.0], [0.5, -1.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    targets = features @ weights + torch.tensor([7.0, -2.0])
    model = probes.ridge_probe(features, targets, (1e-6, 1e-2, 100.0))
    assert model.penalty == 1e-6
    torch.testing.assert_close(model.predict(features), targets, atol=0.05, rtol=0)
    noise = torch.randn(targets.shape, generator=generator)
    assert probes.ridge_probe(features, noise, (1e-6, 1e-2, 100.0)).penalty == 100.0
