"""Classifiers trained on views: which parameters change, and where the randomness comes from."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.encoders.timm import Timm
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.evaluation.probes.finetune import Classifier, endless_batches, fine_tune, predict_classes

CPU = torch.device("cpu")
LABELS = torch.arange(48) % 3


def coloured_images() -> Tensor:
    """48 noisy images (48, 3, 16, 16); each is brightest in the channel of its class."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (48, 3, 16, 16), generator=generator, dtype=torch.uint8)
    images[torch.arange(48), LABELS] += 100
    return images


def build_classifier(*, train_encoder: bool = True, head: str = "linear", tap: str = "conv5") -> Classifier:
    """A classifier of 32 features: the means of conv5's 32 maps, or a grid of 2 x 2 of conv2's 8."""
    torch.manual_seed(3)
    return Classifier(ConvNet(16, width=4), FeatureSpec(tap, 64), 32, 3, head=head, train_encoder=train_encoder)


def train(network: Classifier, *, steps: int, seed: int = 0, lr: float = 5e-3, device: str = "cpu") -> Classifier:
    """Trains for some steps on batches of 12 views of the first 12 images."""
    return fine_tune(
        lambda: network,
        coloured_images(),
        torch.arange(12),
        LABELS,
        optimiser=partial(torch.optim.AdamW, lr=lr),
        learning_rate_factor=lambda _: 1.0,
        views=12 * steps,
        batch_size=12,
        seed=seed,
        bf16=False,
        device=torch.device(device),
    )


@pytest.mark.parametrize("train_encoder", [True, False])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_trained_classifier_generalises(train_encoder: bool, head: str) -> None:
    """Trained on a few images of each class, it recognises all images, with the encoder trained or frozen."""
    network = build_classifier(train_encoder=train_encoder, head=head, tap="conv2")
    train(network, steps=40, lr=5e-3 if train_encoder else 5e-2)
    assert not network.training
    correct = predict_classes(network, coloured_images(), bf16=False, device=CPU) == LABELS
    assert correct.float().mean() > 0.9


def test_a_head_can_be_initialised_with_a_linear_classifier() -> None:
    """Afterwards the network computes what that classifier's weights and bias give on the unstandardised features."""
    network = build_classifier(train_encoder=True).eval()
    with torch.no_grad():
        features = network.spec.pool(network.encoder.features(coloured_images(), ["conv5"])["conv5"])
        weights, bias = torch.randn(features.shape[1], 3), torch.randn(3)
        assert not torch.allclose(network(coloured_images()), features @ weights + bias, atol=1e-2)
        network.initialise_head(features, weights, bias)
        torch.testing.assert_close(network(coloured_images()), features @ weights + bias, rtol=1e-4, atol=1e-4)


def test_a_frozen_encoder_does_not_change() -> None:
    """Training with a frozen encoder changes only the head, neither weights nor batch statistics of the encoder."""
    network = build_classifier(train_encoder=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, steps=2)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}
    network = build_classifier(train_encoder=True)
    train(network, steps=2)
    assert not any(
        torch.equal(value, before[name]) for name, value in network.state_dict().items() if "0.weight" in name
    )


def test_training_is_seeded_and_leaves_the_global_generator_alone() -> None:
    """Equal seeds give equal weights whatever the global generator's state, which training does not change."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = train(build_classifier(), steps=2).state_dict()
    torch.manual_seed(8)
    again, other = (train(build_classifier(), steps=2, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])
    torch.manual_seed(7)
    network = build_classifier()
    torch.manual_seed(7)
    train(network, steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_the_learning_rate_follows_its_factor() -> None:
    """Each step's learning rate is the full rate times the factor at the middle of the step."""
    rates: list[float] = []

    class RecordingSGD(torch.optim.SGD):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])

    fine_tune(
        build_classifier,
        coloured_images(),
        torch.arange(12),
        LABELS,
        optimiser=partial(RecordingSGD, lr=0.5),
        learning_rate_factor=lambda progress: progress,
        views=48,
        batch_size=12,
        seed=0,
        bf16=False,
        device=CPU,
    )
    assert rates == pytest.approx([0.5 * p for p in (0.125, 0.375, 0.625, 0.875)])


def test_batches_are_full_and_images_occur_equally_often() -> None:
    """Where images are fewer than a batch they repeat, but none occurs a third time before all occurred twice."""
    rows = torch.tensor([4, 9, 2, 7, 5])
    order = endless_batches(rows, 8, torch.Generator().manual_seed(0))
    chosen = torch.cat([next(order) for _ in range(5)])
    assert chosen.shape == (40,)
    for epoch in chosen.split(5):
        assert sorted(epoch.tolist()) == [2, 4, 5, 7, 9]
    assert len({tuple(epoch.tolist()) for epoch in chosen.split(5)}) > 1


def test_a_diverged_network_is_refused() -> None:
    """Logits that are not finite raise UserError; they do not count as a class."""
    network = build_classifier()
    nn.init.constant_(network.head[1].weight, torch.nan)
    with pytest.raises(UserError, match="NaN"):
        predict_classes(network.eval(), coloured_images(), bf16=False, device=CPU)


def test_no_device_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fake CUDA device views, logits and loss are on the device; images and labels come from the host."""
    losses: list[str] = []
    monkeypatch.setattr(Tensor, "backward", lambda loss: losses.append(loss.device.type))  # needs a real device
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            network = build_classifier()
        train(network, steps=2, device="cuda")
    assert losses == ["cuda", "cuda"]


def test_a_classifier_can_read_the_class_token() -> None:
    """Class token and mean are concatenated, and gradients reach the class token."""
    torch.manual_seed(0)
    encoder = Timm(32, name="test_vit")
    spec = FeatureSpec("conv5", pooling="token+mean")
    network = Classifier(encoder, spec, 2 * encoder.dim, 3, train_encoder=True)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert encoder.network.cls_token.grad.abs().sum() > 0
