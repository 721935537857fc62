"""What the pictures of protocols show: colours, marks and captions for answers that are known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sslbench.bench.data import VOID
from sslbench.protocols._pictures import as_grey, colour_labels
from sslbench.protocols.correspondence import Correspondence, mark_points
from sslbench.protocols.depth_probe import DepthProbe
from sslbench.protocols.propagation import Propagation, overlay
from sslbench.protocols.retrieval import Retrieval
from sslbench.protocols.segmentation import Segmentation
from tests.protocols.builders import (
    ideal_clips_representation,
    ideal_dense_representation,
    ideal_places_representation,
    ideal_representation,
)


def test_labels_have_colours_of_their_own() -> None:
    """The background is black, unknown pixels are white, and 20 labels differ from both and from each other."""
    colours = colour_labels(torch.tensor([[[0, VOID, *range(1, 21)]]]))[0, :, 0].T
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1].tolist() == [1, 1, 1]
    assert torch.cdist(colours, colours)[~torch.eye(22, dtype=torch.bool)].min() > 0.05
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_numbers_become_greys() -> None:
    """Each image has its own range; numbers outside are black or white."""
    values = torch.tensor([[[1.0, 2, 3]], [[0.0, 5, 20]]])
    greys = as_grey(values, torch.tensor([1.0, 0]), torch.tensor([3.0, 10]))
    assert greys.shape == (2, 3, 1, 3)
    assert greys[:, 0, 0].tolist() == [[0, 0.5, 1], [0, 0.5, 1]]


def test_points_are_marked_where_they_are() -> None:
    """At twice the size, squares of 3 pixels around two places of one image and one corner of the other."""
    points = torch.tensor([[[-0.5, 0.0], [0.5, 0.5]], [[1.0, 1.0], [0.0, 0.0]]])
    marked = mark_points(torch.zeros(2, 3, 8, 8), points, [torch.tensor([0, 1]), torch.tensor([0])])
    lit = marked.amax(1) > 0
    assert lit.flatten(1).sum(1).tolist() == [18, 9]
    assert bool(lit[0, 7:10, 3:6].all() or lit[0, 6:9, 2:5].all())  # the centre is on an edge between pixels
    assert bool(lit[1, -3:, -3:].all())


def test_ideal_features_are_shown_to_answer_right() -> None:
    """Segmentation and depth show what is asked, retrieval finds the query's class, correspondence every point."""
    dense = ideal_dense_representation()
    _, classes, found = Segmentation(taps=("conv5",)).pictures(dense)
    assert torch.equal(classes.images, found.images)
    _, depth, predicted = DepthProbe(taps=("conv5",)).pictures(dense)
    assert (depth.images - predicted.images).abs().mean() < 0.02
    assert set(predicted.captions) <= {"error 0.00 m", "error 0.01 m"}
    query, *nearest = Retrieval(taps=("conv5",)).pictures(ideal_representation())
    assert len(nearest) == 5
    for panel in nearest:
        assert panel.captions == tuple(f"✓ {name}" for name in query.captions)
    places = ideal_places_representation()
    coloured = replace(places.dataset.test, images=places.test_images[:, :3])  # three channels, as pictures have
    places.dataset = replace(places.dataset, test=coloured)
    *_, answers = Correspondence(taps=("conv5",)).pictures(places)
    assert set(answers.captions) == {"5 of 5"}


def test_a_strip_of_a_clip_shows_given_found_and_true_masks() -> None:
    """The first frame, later ones with what is found, and the last one as it is: equal for ideal features."""
    given, *found, truth = Propagation(taps=("conv5",)).pictures(ideal_clips_representation())
    assert [panel.title for panel in found][-1] == "conv5, frame 4"
    assert torch.equal(found[-1].images, truth.images)
    assert not torch.equal(given.images, truth.images)
    masks = torch.tensor([[[0, 1]]])
    assert overlay(torch.full((1, 3, 1, 2), 0.5), masks)[0, :, 0, 0].tolist() == pytest.approx([0.5] * 3)
