"""Classifiers taught on views: what learns, what stays, and where the randomness comes from."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.probes.finetune import Classifier, answers, endless, taught
from sslbench.bench.evaluation.representation import FeatureSpec

CPU = torch.device("cpu")
LABELS = torch.arange(48) % 3


def colours() -> Tensor:
    """48 images (N, 3, 16, 16), each noisy and brightest in the channel of its class."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (48, 3, 16, 16), generator=generator, dtype=torch.uint8)
    images[torch.arange(48), LABELS] += 100
    return images


def classifier(*, tuned: bool = True, head: str = "linear", tap: str = "conv5") -> Classifier:
    """Of 32 features: the means of conv5's 32 maps, or a grid of 2 x 2 of conv2's 8."""
    torch.manual_seed(3)
    return Classifier(ConvNet(16, width=4), FeatureSpec(tap, 64), 32, 3, head=head, tuned=tuned)


def lesson(network: Classifier, *, steps: int, seed: int = 0, lr: float = 5e-3, device: str = "cpu") -> Classifier:
    """So many steps of 12 views of the first 12 images."""
    adam = partial(torch.optim.AdamW, lr=lr)
    return taught(
        lambda: network, colours(), torch.arange(12), LABELS, optimiser=adam, rate=lambda _: 1.0,
        views=12 * steps, batch=12, seed=seed, low=False, device=torch.device(device),
    )  # fmt: skip


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_what_it_is_taught_it_knows(tuned: bool, head: str) -> None:
    """From a few images of each class it tells all, with the encoder learning and with a frozen one."""
    network = lesson(classifier(tuned=tuned, head=head, tap="conv2"), steps=40, lr=5e-3 if tuned else 5e-2)
    assert not network.training
    right = answers(network, colours(), low=False, device=CPU) == LABELS
    assert right.float().mean() > 0.9


def test_a_head_can_begin_as_a_linear_classifier() -> None:
    """Before any step it answers, on features as they are, what that classifier's weights and bias say."""
    network = classifier(tuned=True).eval()
    with torch.no_grad():
        features = network.spec.pooled(network.encoder.features(colours(), ["conv5"])["conv5"])
        weights, bias = torch.randn(features.shape[1], 3), torch.randn(3)
        assert not torch.allclose(network(colours()), features @ weights + bias, atol=1e-2)
        network.begin(features, weights, bias)
        torch.testing.assert_close(network(colours()), features @ weights + bias, rtol=1e-4, atol=1e-4)


def test_a_frozen_encoder_stays_as_it_is() -> None:
    """Only the head moves: no weight of the encoder and none of its batch statistics does."""
    network = classifier(tuned=False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lesson(network, steps=2)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("head.")}
    network = classifier(tuned=True)
    lesson(network, steps=2)
    assert not any(
        torch.equal(value, before[name]) for name, value in network.state_dict().items() if "0.weight" in name
    )


def test_a_seed_repeats_it_and_leaves_the_randomness_outside() -> None:
    """Equal seeds give equal weights whatever was drawn before, and nothing is drawn from the global generator."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = lesson(classifier(), steps=2).state_dict()
    torch.manual_seed(8)
    again, other = (lesson(classifier(), steps=2, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])
    torch.manual_seed(7)
    network = classifier()
    torch.manual_seed(7)
    lesson(network, steps=1)
    assert torch.equal(torch.rand(3), expected)


def test_the_rate_follows_its_course() -> None:
    """Each step's learning rate is the full one times the course at the middle of the step."""
    seen: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            seen.append(self.param_groups[0]["lr"])

    taught(
        classifier, colours(), torch.arange(12), LABELS, optimiser=partial(Watched, lr=0.5), rate=lambda p: p,
        views=48, batch=12, seed=0, low=False, device=CPU,
    )  # fmt: skip
    assert seen == pytest.approx([0.5 * p for p in (0.125, 0.375, 0.625, 0.875)])


def test_batches_are_whole_and_each_image_comes_as_often() -> None:
    """Fewer images than a batch fill it by coming again; no image comes a third time before all came twice."""
    rows = torch.tensor([4, 9, 2, 7, 5])
    order = endless(rows, 8, torch.Generator().manual_seed(0))
    drawn = torch.cat([next(order) for _ in range(5)])
    assert drawn.shape == (40,)
    for epoch in drawn.split(5):
        assert sorted(epoch.tolist()) == [2, 4, 5, 7, 9]
    assert len({tuple(epoch.tolist()) for epoch in drawn.split(5)}) > 1


def test_a_diverged_network_is_told() -> None:
    """Logits that are no numbers are one line, not a class."""
    network = classifier()
    nn.init.constant_(network.head[1].weight, torch.nan)
    with pytest.raises(UserError, match="NaN"):
        answers(network.eval(), colours(), low=False, device=CPU)


def test_no_device_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fake CUDA device views, logits and loss are there, images and labels coming from the host."""
    losses: list[str] = []
    monkeypatch.setattr(Tensor, "backward", lambda loss: losses.append(loss.device.type))  # needs a real device
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            network = classifier()
        lesson(network, steps=2, device="cuda")
    assert losses == ["cuda", "cuda"]
