"""Features are extracted once, and equal the encoder's pooled maps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.timm import Timm
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.feature_spec import FeatureSpec, evenly_spaced
from sslbench.bench.evaluation.representation import BATCH_SIZE, Representation, fold_batch_norms
from sslbench.bench.images.augment import colour_jitter, random_resized_crops

SPECS = (FeatureSpec("conv4", 2048), FeatureSpec("conv5", 1024), FeatureSpec("conv5"))


def encoder_of(seed: int) -> ConvNet:
    """A small convnet with its own weights."""
    torch.manual_seed(seed)
    return ConvNet(32, width=8)


def represent(encoder, dataset, identity="data") -> Representation:
    """On the CPU in full precision."""
    return Representation(encoder, dataset, identity, torch.device("cpu"), "fp32")


@pytest.fixture
def passes(monkeypatch):
    """A list with one entry per batch that passed through an encoder."""
    calls = []
    original = ConvNet.features
    monkeypatch.setattr(ConvNet, "features", lambda self, *a: (calls.append(1), original(self, *a))[1])
    return calls


def test_features_are_the_pooled_maps_of_the_taps(tiny):
    """Every spec equals the encoder's own maps, pooled by hand."""
    encoder = encoder_of(1)
    representation = represent(encoder, tiny)
    with torch.no_grad():
        maps = encoder.eval().features(tiny.train.images, ["conv4", "conv5"])
    torch.testing.assert_close(representation.train(SPECS[0]), maps["conv4"].flatten(1))
    torch.testing.assert_close(representation.train(SPECS[1]), maps["conv5"].flatten(1))
    torch.testing.assert_close(representation.train(SPECS[2]), maps["conv5"].mean((2, 3)))
    assert representation.test(SPECS[2]).shape == (20, 64)


def test_unpooled_maps_of_some_images(tiny, passes):
    """Maps stay (N, C, h, w); a spec of 10 images reads those of the whole split that `evenly_spaced` names."""
    encoder = encoder_of(1)
    representation = represent(encoder, tiny)
    some, all_of_them = FeatureSpec("conv4", pooling="map", images=10), FeatureSpec("conv4", pooling="map")
    list(representation.extract([some]))
    assert len(passes) == 2  # one batch per split: the other images are not touched
    assert representation.train(some).shape == (10, 32, 8, 8)
    assert representation.test(some).shape == (10, 32, 8, 8)
    with torch.no_grad():
        maps = encoder.eval().features(tiny.train.images, ["conv4"])["conv4"]
    torch.testing.assert_close(representation.train(all_of_them), maps)
    torch.testing.assert_close(representation.train(some), maps[evenly_spaced(64, 10)])


def test_one_pass_serves_specs_of_different_images(tiny, passes):
    """With 7, 10 and all images wanted at once, each batch passes once and each spec gets its own images."""
    representation = represent(encoder_of(1), tiny)
    specs = [FeatureSpec("conv4", images=7), FeatureSpec("conv5", images=10), FeatureSpec("conv5")]
    list(representation.extract(specs))
    assert len(passes) == 2
    for spec, count in zip(specs, (7, 10, 64), strict=True):
        alone = represent(encoder_of(1), tiny, "another").train(spec)
        torch.testing.assert_close(representation.train(spec), alone)
        assert len(alone) == count


def test_targets_are_of_the_images_of_a_spec(tiny):
    """Labels, masks and values belong to the features' images, in their order."""
    representation = represent(encoder_of(1), tiny)
    spec, indices = FeatureSpec("conv4", images=7), evenly_spaced(64, 7)
    targets = representation.targets("train", spec)
    assert torch.equal(targets.images[2:4], tiny.train.images[indices[2:4]])
    for name in ("labels", "masks", "depth", "multi_labels", "values"):
        assert torch.equal(getattr(targets, name), getattr(tiny.train, name)[indices])
    assert targets.captions == tuple(tiny.train.captions[index] for index in indices.tolist())
    assert representation.targets("test") is tiny.test


@pytest.mark.parametrize(("numbers", "side"), [(10_000, 8), (32 * 63, 7), (32 * 16, 4), (1, 1), (None, 1)])
def test_pooling_keeps_at_most_max_dim_values(numbers, side):
    """The grid is the largest square that fits, never larger than the map."""
    maps = torch.rand(2, 32, 8, 8)
    assert FeatureSpec("conv4", numbers).pool(maps).shape == (2, 32 * side**2)
    torch.testing.assert_close(FeatureSpec("conv4", 512).pool(maps), F.avg_pool2d(maps, 2).flatten(1))


def test_maximum_pooling_has_its_own_features(tiny):
    """Maximum pooling keeps the largest value of each part, and is stored apart from average pooling."""
    maps = torch.rand(2, 32, 8, 8)
    assert torch.equal(FeatureSpec("conv4", 512, "max").pool(maps), F.max_pool2d(maps, 2).flatten(1))
    representation = represent(encoder_of(1), tiny)
    assert (
        representation.train(FeatureSpec("conv4", 512, "max")) >= representation.train(FeatureSpec("conv4", 512))
    ).all()
    assert not torch.equal(
        representation.train(FeatureSpec("conv4", 512, "max")), representation.train(FeatureSpec("conv4", 512))
    )


def test_a_copy_of_the_encoder_has_its_own_weights(tiny):
    """Copies share no tensors with the encoder; an untrained one needs ``build_encoder``."""
    encoder = encoder_of(1)
    representation = Representation(
        encoder, tiny, "data", torch.device("cpu"), "fp32", build_encoder=lambda: encoder_of(2)
    )
    taken, fresh = representation.encoder_copy(), representation.encoder_copy(untrained=True)
    for copy, original in ((taken, encoder), (fresh, encoder_of(2))):
        for name, value in original.state_dict().items():
            assert torch.equal(copy.state_dict()[name], value)
            assert copy.state_dict()[name] is not value
    with pytest.raises(ValueError, match="build_encoder"):
        represent(encoder, tiny).encoder_copy(untrained=True)


def test_results_are_shared_for_equal_weights_and_data(tiny):
    """Equal weights, data and key share one result within a run; a difference in any of them does not."""
    made, shared = [], {}
    one, other = (
        Representation(encoder_of(1), tiny, data, torch.device("cpu"), shared_results=shared) for data in "ab"
    )
    for representation, weights, key in ((one, 3, "x"), (one, 3, "x"), (one, 3, "y"), (one, 4, "x"), (other, 3, "x")):
        assert representation.compute_once(encoder_of(weights), key, lambda: made.append(1) or len(made)) == len(made)
    assert len(made) == 4


def test_one_pass_serves_every_spec(tiny, passes):
    """All specs of a split cost one forward pass over its images, and later requests cost none."""
    representation = represent(encoder_of(2), tiny)
    assert list(representation.extract(SPECS))[-1] == (84, 84)
    assert len(passes) == 2
    assert list(representation.extract(SPECS)) == []
    for spec in SPECS:
        representation.train(spec)
        representation.test(spec)
    assert len(passes) == 2


def test_operations_are_counted_to_the_deepest_tap(tiny):
    """Two operations per weight and position, for each image that is read; stored features cost none."""
    network = encoder_of(9)
    representation = represent(network, tiny)
    convolution = network.stages["conv1"][0]
    assert list(representation.extract([FeatureSpec("conv1", 4)]))
    side = network.features(tiny.train.images[:1], ["conv1"])["conv1"].shape[-1]
    assert representation.extract_flops == 84 * 2 * convolution.weight.numel() * side**2
    assert not list(representation.extract([FeatureSpec("conv1", 4)]))
    assert representation.extract_flops == 84 * 2 * convolution.weight.numel() * side**2


def test_equal_weights_are_not_extracted_twice(tiny, passes):
    """Another encoder object with the same weights finds the features; other weights or data do not."""
    list(represent(encoder_of(3), tiny).extract(SPECS))
    before = len(passes)
    assert list(represent(encoder_of(3), tiny).extract(SPECS)) == []
    assert len(passes) == before
    assert list(represent(encoder_of(4), tiny).extract(SPECS))
    assert list(represent(encoder_of(3), tiny, "other data").extract(SPECS))


def test_the_encoder_is_bit_identical_afterwards(tiny):
    """Extraction changes neither weights nor batch-norm statistics."""
    encoder = encoder_of(5)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    list(represent(encoder, tiny).extract(SPECS))
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_an_interrupted_pass_leaves_nothing_behind(tiny):
    """A pass that is interrupted leaves no half-written features that are used later."""
    representation = represent(encoder_of(6), tiny)
    going = representation.extract(SPECS)
    next(going)
    going.close()
    assert list(representation.extract(SPECS))[-1] == (84, 84)


def test_an_unknown_tap_is_named(tiny):
    """A tap that the encoder lacks is a UserError with the nearest one."""
    with pytest.raises(UserError, match="conv6"):
        represent(encoder_of(7), tiny).train(FeatureSpec("conv6"))


def test_truncated_features_are_extracted_again(tiny):
    """A truncated file of features is neither used nor fatal."""
    representation = represent(encoder_of(8), tiny)
    whole = representation.train(SPECS[0]).clone()
    file = representation._file("train", SPECS[0])
    file.write_bytes(file.read_bytes()[:2000])
    assert torch.equal(representation.train(SPECS[0]), whole)


def test_folding_batch_norms_changes_neither_maps_nor_encoder(tiny):
    """Batch norms folded into convolutions give the same maps, and the encoder keeps its weights bit for bit."""
    encoder = encoder_of(9)
    with torch.no_grad():
        encoder.train()(tiny.train.images)  # statistics that are not those of a fresh batch norm
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    network = fold_batch_norms(encoder.eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        for tap, maps in encoder.features(tiny.test.images, encoder.taps).items():
            torch.testing.assert_close(network.features(tiny.test.images, [tap])[tap], maps, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_two_views_are_the_same_for_every_encoder(tiny):
    """Views differ, are of evenly spaced test images, repeat, and leave the global random generator alone."""
    representation = represent(encoder_of(1), tiny)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = representation.two_view_features(FeatureSpec("conv5"), 5)
    assert torch.equal(torch.rand(3), expected)
    assert first.shape == second.shape == (5, 64)
    assert not torch.equal(first, second)
    for side, again in zip((first, second), representation.two_view_features(FeatureSpec("conv5"), 5), strict=True):
        assert torch.equal(side, again)
    assert evenly_spaced(20, 5).tolist() == [0, 4, 8, 12, 16]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]


def test_two_views_are_those_of_the_augmentations(tiny):
    """Both views of a batch are drawn one after the other with seed 0, and encoded."""
    encoder = encoder_of(1)
    first, second = represent(encoder, tiny).two_view_features(FeatureSpec("conv5"), 5)
    batch = tiny.test.images[evenly_spaced(20, 5)]
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        for found in (first, second):
            views = colour_jitter(random_resized_crops(batch))
            torch.testing.assert_close(found, encoder.eval().features(views, ["conv5"])["conv5"].mean((2, 3)))


def test_features_of_changed_images(tiny):
    """They are of evenly spaced test images after the change; its random numbers repeat, those outside continue."""
    representation = represent(encoder_of(1), tiny)
    spec = FeatureSpec("conv4", pooling="map")
    same = representation.changed_features(spec, lambda batch: batch, 5)
    torch.testing.assert_close(same, representation.test(spec)[evenly_spaced(20, 5)])
    mirrored = representation.changed_features(spec, lambda batch: batch.flip(-1), 5)
    torch.testing.assert_close(mirrored, representation.encode(tiny.test.images.flip(-1), spec)[evenly_spaced(20, 5)])
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    noisy = [
        representation.changed_features(spec, lambda batch: batch / 255 + torch.rand(len(batch), 1, 1, 1), 5)
        for _ in range(2)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(*noisy)
    assert not torch.equal(noisy[0], same)


def test_any_images_can_be_encoded(tiny):
    """More than one batch of them, in any of the ways in which features are read; an unknown tap is named."""
    representation = represent(encoder_of(1), tiny)
    for spec in SPECS:
        torch.testing.assert_close(representation.encode(tiny.train.images, spec), representation.train(spec))
    many = tiny.train.images.repeat(5, 1, 1, 1)
    assert len(many) > BATCH_SIZE
    torch.testing.assert_close(representation.encode(many, SPECS[2])[-64:], representation.train(SPECS[2]))
    with pytest.raises(UserError, match="conv6"):
        representation.encode(tiny.train.images, FeatureSpec("conv6"))


def test_the_class_token_has_its_own_features(tiny):
    """Mean, token and both come from one pass and are stored apart; two views are read in the same way."""
    torch.manual_seed(0)
    encoder = Timm(32, name="test_vit")
    mean, token, both = (FeatureSpec("conv5", pooling=pooling) for pooling in ("mean", "token", "token+mean"))
    representation = represent(encoder, tiny)
    assert list(representation.extract([mean, token, both]))[-1] == (84, 84)
    outputs = encoder.network.forward_features(encoder.prepare_images(tiny.test.images))
    torch.testing.assert_close(representation.test(token), outputs[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(representation.test(mean), outputs[:, 1:].mean(1), atol=1e-4, rtol=1e-4)
    joined = torch.cat([representation.test(token), representation.test(mean)], dim=1)
    assert torch.equal(representation.test(both), joined)
    assert representation.two_view_features(token, 4)[0].shape == (4, encoder.dim)


def test_a_class_token_that_is_not_there_is_refused(tiny):
    """The error is one line that names the encoder's place and a remedy."""
    with pytest.raises(UserError, match="the encoder has no class token at conv5; use pooling=mean"):
        represent(encoder_of(7), tiny).train(FeatureSpec("conv5", pooling="token"))
