"""Features are taken once, and are what the encoder gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.representation import FeatureSpec, Representation, evenly, folded

READINGS = (FeatureSpec("conv4", 2048), FeatureSpec("conv5", 1024), FeatureSpec("conv5"))


def encoder_of(seed: int) -> ConvNet:
    """A small convnet with its own weights."""
    torch.manual_seed(seed)
    return ConvNet(32, width=8)


def representation(encoder, dataset, identity="data") -> Representation:
    """On the CPU in full precision."""
    return Representation(encoder, dataset, identity, torch.device("cpu"), "fp32")


@pytest.fixture
def passes(monkeypatch):
    """Counts the batches that go through an encoder."""
    seen = []
    features = ConvNet.features
    monkeypatch.setattr(ConvNet, "features", lambda self, *a: (seen.append(1), features(self, *a))[1])
    return seen


def test_features_are_the_pooled_maps_of_the_taps(tiny):
    """Every spec equals the encoder's own maps, pooled by hand."""
    encoder = encoder_of(1)
    seen = representation(encoder, tiny)
    with torch.no_grad():
        maps = encoder.eval().features(tiny.train.images, ["conv4", "conv5"])
    torch.testing.assert_close(seen.train(READINGS[0]), maps["conv4"].flatten(1))
    torch.testing.assert_close(seen.train(READINGS[1]), maps["conv5"].flatten(1))
    torch.testing.assert_close(seen.train(READINGS[2]), maps["conv5"].mean((2, 3)))
    assert seen.test(READINGS[2]).shape == (20, 64)


@pytest.mark.parametrize(("numbers", "side"), [(10_000, 8), (32 * 63, 7), (32 * 16, 4), (1, 1), (None, 1)])
def test_a_reading_keeps_at_most_so_many_numbers(numbers, side):
    """The grid is the largest square that fits, never larger than the map."""
    maps = torch.rand(2, 32, 8, 8)
    assert FeatureSpec("conv4", numbers).pooled(maps).shape == (2, 32 * side**2)
    torch.testing.assert_close(FeatureSpec("conv4", 512).pooled(maps), F.avg_pool2d(maps, 2).flatten(1))


def test_the_maximum_of_each_part_is_another_reading(tiny):
    """Maximum pooling keeps each part's largest value, and never mixes with the averages on disk."""
    maps = torch.rand(2, 32, 8, 8)
    assert torch.equal(FeatureSpec("conv4", 512, "max").pooled(maps), F.max_pool2d(maps, 2).flatten(1))
    seen = representation(encoder_of(1), tiny)
    assert (seen.train(FeatureSpec("conv4", 512, "max")) >= seen.train(FeatureSpec("conv4", 512))).all()
    assert not torch.equal(seen.train(FeatureSpec("conv4", 512, "max")), seen.train(FeatureSpec("conv4", 512)))


def test_a_copy_of_the_encoder_is_its_own(tiny):
    """What learns is a copy; the untrained one is built anew, and who cannot build it says so."""
    encoder = encoder_of(1)
    seen = Representation(encoder, tiny, "data", torch.device("cpu"), "fp32", build=lambda: encoder_of(2))
    taken, fresh = seen.encoder_copy(), seen.encoder_copy(untrained=True)
    for copy, original in ((taken, encoder), (fresh, encoder_of(2))):
        for name, value in original.state_dict().items():
            assert torch.equal(copy.state_dict()[name], value)
            assert copy.state_dict()[name] is not value
    with pytest.raises(ValueError, match="how its encoder is built"):
        representation(encoder, tiny).encoder_copy(untrained=True)


def test_what_is_made_once_is_made_once_for_equal_weights_and_data(tiny):
    """Equal weights, data and key share an answer within a run; a difference in any of them does not."""
    made, shared = [], {}
    one, other = (Representation(encoder_of(1), tiny, data, torch.device("cpu"), shared=shared) for data in "ab")
    for seen, weights, key in ((one, 3, "x"), (one, 3, "x"), (one, 3, "y"), (one, 4, "x"), (other, 3, "x")):
        assert seen.once(encoder_of(weights), key, lambda: made.append(1) or len(made)) == len(made)
    assert len(made) == 4


def test_one_pass_serves_every_reading(tiny, passes):
    """All specs of a split cost one forward pass over its images, and a second asking costs none."""
    seen = representation(encoder_of(2), tiny)
    assert list(seen.extract(READINGS))[-1] == (84, 84)
    assert len(passes) == 2
    assert list(seen.extract(READINGS)) == []
    for spec in READINGS:
        seen.train(spec)
        seen.test(spec)
    assert len(passes) == 2


def test_operations_are_counted_to_the_deepest_tap(tiny):
    """Two operations a weight and place, for each image of both splits that is read, and none for what is kept."""
    network = encoder_of(9)
    seen = representation(network, tiny)
    convolution = network.stages["conv1"][0]
    assert list(seen.extract([FeatureSpec("conv1", 4)]))
    side = network.features(tiny.train.images[:1], ["conv1"])["conv1"].shape[-1]
    assert seen.extract_flops == 84 * 2 * convolution.weight.numel() * side**2
    assert not list(seen.extract([FeatureSpec("conv1", 4)]))
    assert seen.extract_flops == 84 * 2 * convolution.weight.numel() * side**2


def test_the_same_weights_are_not_read_twice_whatever_holds_them(tiny, passes):
    """Another encoder object with the same weights finds the features; other weights or data do not."""
    list(representation(encoder_of(3), tiny).extract(READINGS))
    before = len(passes)
    assert list(representation(encoder_of(3), tiny).extract(READINGS)) == []
    assert len(passes) == before
    assert list(representation(encoder_of(4), tiny).extract(READINGS))
    assert list(representation(encoder_of(3), tiny, "other data").extract(READINGS))


def test_the_encoder_is_bit_identical_afterwards(tiny):
    """Extraction changes neither weights nor batch-norm statistics."""
    encoder = encoder_of(5)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    list(representation(encoder, tiny).extract(READINGS))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_an_interrupted_pass_leaves_nothing_behind(tiny):
    """A pass that is cut off leaves no half-written features to be believed later."""
    seen = representation(encoder_of(6), tiny)
    going = seen.extract(READINGS)
    next(going)
    going.close()
    assert list(seen.extract(READINGS))[-1] == (84, 84)


def test_an_unknown_tap_is_named(tiny):
    """A tap that the encoder lacks is a UserError with the nearest one."""
    with pytest.raises(UserError, match="conv6"):
        representation(encoder_of(7), tiny).train(FeatureSpec("conv6"))


def test_features_cut_short_are_taken_again(tiny):
    """A file of features that was truncated is not believed and not fatal."""
    seen = representation(encoder_of(8), tiny)
    whole = seen.train(READINGS[0]).clone()
    file = seen._file("train", READINGS[0])
    file.write_bytes(file.read_bytes()[:2000])
    assert torch.equal(seen.train(READINGS[0]), whole)


def test_folding_changes_the_sums_and_not_the_encoder(tiny):
    """Batch norms folded into convolutions give the same maps, and the encoder keeps its own weights to the bit."""
    encoder = encoder_of(9)
    with torch.no_grad():
        encoder.train()(tiny.train.images)  # statistics that are not those of a fresh batch norm
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    network = folded(encoder.eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        for tap, maps in encoder.features(tiny.test.images, encoder.taps).items():
            torch.testing.assert_close(network.features(tiny.test.images, [tap])[tap], maps, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_two_views_are_the_same_for_every_encoder(tiny):
    """Both views differ, are taken evenly from the test images, repeat, and leave the caller's randomness alone."""
    seen = representation(encoder_of(1), tiny)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = seen.views(FeatureSpec("conv5"), 5)
    assert torch.equal(torch.rand(3), expected)
    assert first.shape == second.shape == (5, 64)
    assert not torch.equal(first, second)
    for side, again in zip((first, second), seen.views(FeatureSpec("conv5"), 5), strict=True):
        assert torch.equal(side, again)
    assert evenly(20, 5).tolist() == [0, 4, 8, 12, 16]
    assert evenly(3, 5).tolist() == [0, 1, 2]
