"""The held-out part of the train images."""

import torch

from sslbench.bench.evaluation.probes.feature_table import training_mask


def test_held_out_part_is_stratified_and_leaves_every_class_an_image():
    """A tenth of each class is held out, and nothing from a class with one image."""
    y = torch.cat([torch.zeros(50), torch.ones(20), torch.full((1,), 2)]).long()
    keep = training_mask(y, 0.1, 0)
    assert torch.bincount(y[~keep], minlength=3).tolist() == [5, 2, 0]
    assert not torch.equal(keep, training_mask(y, 0.1, 1))
