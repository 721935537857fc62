"""BiGAN: which network learns from which loss, the codes, and the panels."""

from __future__ import annotations

import pytest
import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.method import Batch, TrainInfo
from sslbench.methods._adversarial import gradient_penalty
from sslbench.methods.bigan import BiGAN

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: float) -> BiGAN:
    torch.manual_seed(0)
    return BiGAN(
        ConvNet(32, width=4),
        TRAIN_INFO,
        **{"latent": 6, "width": 4, "hidden": 8, "flip": 0.0, "penalty": 0.0} | settings,
    )  # type: ignore[arg-type]


def test_each_side_learns_from_its_own_loss(tiny: Dataset) -> None:
    """In one backward pass the critic gets the gradient of its own loss, the others that of the inverse loss."""
    method = make_method().eval()
    images = tiny.train.images[:4]
    torch.manual_seed(1)
    loss = method.loss(Batch(images=images, indices=torch.arange(4)))
    loss.backward()
    torch.manual_seed(1)
    torch.rand(4, 1, 1, 1)  # the mirror's coins
    z = torch.rand(4, 6) * 2 - 1
    critic, players = torch.zeros(()), torch.zeros(())
    for n in range(4):
        x = images[n : n + 1].float() / 255
        code = method.encode(x)
        of_encoder = method.pair_critic(method.image_critic(2 * x - 1), code).sigmoid()
        of_generator = method.pair_critic(method.image_critic(method.generator(z[n : n + 1])), z[n : n + 1]).sigmoid()
        critic = critic - (of_encoder.log() + (1 - of_generator).log()).squeeze() / 4
        players = players - ((1 - of_encoder).log() + of_generator.log()).squeeze() / 4
    assert loss.item() == pytest.approx((critic + players).item(), rel=1e-4)
    assert method.logged["critic"].item() == pytest.approx(critic.item(), rel=1e-4)
    theirs = [*method.image_critic.parameters(), *method.pair_critic.parameters()]
    ours = [*method.encoder.parameters(), *method.code.parameters(), *method.generator.parameters()]
    for side, own in ((theirs, critic), (ours, players)):
        for weight, expected in zip(side, torch.autograd.grad(own, side, retain_graph=True), strict=True):
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, expected, atol=1e-6, rtol=1e-3)


def test_codes_have_the_range_and_variance_of_the_prior(tiny: Dataset) -> None:
    """Elements of E(x) are within (-1, 1), with the mean and about the variance of a uniform variable."""
    codes = make_method(latent=50).train().encode(tiny.train.images)
    assert codes.shape == (64, 50)
    assert codes.abs().max() <= 1
    assert codes.mean(0).abs().max() < 0.1
    assert codes.std(0).mean().item() == pytest.approx(3**-0.5, rel=0.1)


def test_the_code_depends_on_the_deepest_maps(tiny: Dataset) -> None:
    """The code depends on all places of the last tap, not only on their mean."""
    method = make_method().eval()
    maps = method.encoder.last_features(tiny.train.images[:2])
    assert method.code[0].in_features == maps[0].numel()
    assert not torch.allclose(method.code(maps.flatten(1)), method.code(maps.flip(-1).flatten(1)))


@pytest.mark.parametrize("size", [32, 64])
def test_the_generator_makes_images(size: int, tiny: Dataset) -> None:
    """This works for any image size; a reconstruction comes from the image's code, a sample from a random code."""
    torch.manual_seed(0)
    train_info = TrainInfo(num_images=64, num_classes=10, image_size=size)
    method = BiGAN(ConvNet(size, width=4), train_info, latent=6, width=4).eval()
    images = tiny.train.images[:3].repeat_interleave(size // 32, -1).repeat_interleave(size // 32, -2)
    with torch.no_grad():
        image, reconstruction, sample = method.panels(Batch(images=images, indices=torch.arange(3)))
        torch.testing.assert_close(reconstruction.images[1:2], method.generator(method.encode(images[1:2])) / 2 + 0.5)
    assert torch.equal(image.images, images)
    assert sample.images.shape == (3, 3, size, size)
    assert len(sample.images.flatten(1).unique(dim=0)) == 3


def test_the_penalty_changes_only_the_critic(tiny: Dataset) -> None:
    """The weighted penalty is added to the loss, and changes no gradient of encoder or generator."""
    batch = Batch(images=tiny.train.images[:4], indices=torch.arange(4))
    losses, gradients = [], []
    for penalty in (0.0, 3.0):
        method = make_method(penalty=penalty).eval()
        torch.manual_seed(1)
        loss = method.loss(batch)
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: weight.grad for name, weight in method.named_parameters()})
    torch.manual_seed(1)
    torch.rand(4, 1, 1, 1)  # the mirror's coins
    method.sample_codes(batch.images)
    x, code = 2 * batch.images.float() / 255 - 1, method.encode(batch.images)
    expected = 3.0 * gradient_penalty(method.pair_logits, method.pair_logits(x, code), x, code)
    assert losses[1] - losses[0] == pytest.approx(expected.item(), rel=1e-2)
    for name, plain in gradients[0].items():
        if name.startswith(("encoder", "code", "generator")):
            assert torch.equal(plain, gradients[1][name]), name
        elif name.endswith("original"):  # biases do not change the critic's gradient
            assert not torch.equal(plain, gradients[1][name]), name
