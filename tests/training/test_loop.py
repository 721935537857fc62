"""The pretraining loop: it spends the budget, treats all methods alike, and can be interrupted anywhere."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.bench.plugins.discovery import find_plugins
from sslbench.bench.training.loop import (
    Diverged,
    batch_indices,
    build_optimiser,
    count_step_flops,
    learning_rate_factor,
    make_batch,
    optimiser_steps,
    pretrain,
)
from sslbench.bench.training.recipe import Recipe
from tests.builders import encoder_for

CPU = torch.device("cpu")
TRAINED = [plugin.name for plugin in find_plugins("method").values() if plugin.constants.get("trains", True)]


class Toy(Method):
    """Predicts the mean brightness of each image, and records what it was given."""

    def __init__(self, encoder: ConvNet, train_info: TrainInfo, *, breaks_at: int = 0) -> None:
        super().__init__(encoder, train_info)
        self.head = nn.Linear(encoder.dim, 1)
        self.breaks_at = breaks_at
        self.batches: list[list[int]] = []
        self.draws: list[float] = []
        self.progress: list[float] = []

    def loss(self, batch: Batch) -> Tensor:
        self.batches.append(batch.indices.tolist())
        self.draws.append(torch.rand(()).item())
        target = batch.images.float().mean((1, 2, 3)) / 255
        scale = math.nan if len(self.batches) == self.breaks_at else 1.0
        return scale * (self.head(self.encoder(batch.images)).squeeze(1) - target).square().mean()

    def after_step(self, progress: float) -> None:
        self.progress.append(progress)


def toy(seed: int = 0, **settings: Any) -> Toy:
    torch.manual_seed(seed)
    return Toy(ConvNet(32, width=4), TrainInfo(num_images=64, num_classes=10, image_size=32), **settings)


def build_method(name: str, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    plugin = find_plugins("method")[name]
    cls: Any = plugin.load()
    method = cls(encoder_for(plugin), TrainInfo(num_images=64, num_classes=10, image_size=32), **cls.short_run_settings)
    return method.to(memory_format=torch.channels_last)


def serialised(state: dict[str, Any]) -> bytes:
    """The bytes that a run would write for this state."""
    file = BytesIO()
    torch.save(state, file)
    return file.getvalue()


def recipe_of(method: Method, steps: int, **changes: Any) -> Recipe:
    """A recipe whose budget is the given number of steps of 16 images."""
    return Recipe(**{"views": round(steps * 16 * method.views_per_image), "batch_size": 16} | changes)


@pytest.mark.parametrize(
    ("views", "batch_size", "views_per_image", "steps"),
    [(8_000, 64, 1.0, 125), (8_000, 64, 4.0, 31), (8_000, 64, 2.0, 62), (1_000, 10, 0.5, 200), (10, 64, 4.0, 1)],
)
def test_steps_spend_the_budget(views: int, batch_size: int, views_per_image: float, steps: int) -> None:
    """Steps times images times views per image is the budget, to the nearest step; there is at least one step."""
    method = toy()
    method.views_per_image = views_per_image
    assert optimiser_steps(method, Recipe(views=views, batch_size=batch_size)) == steps


def test_the_learning_rate_rises_and_falls() -> None:
    """It rises linearly over the warm-up, then falls to 0 along half a cosine, without a jump."""
    assert learning_rate_factor(0, 0.1) == 0
    assert learning_rate_factor(0.05, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(0.1, 0.1) == pytest.approx(1)
    assert learning_rate_factor(0.55, 0.1) == pytest.approx(0.5)
    assert learning_rate_factor(1, 0.1) == pytest.approx(0)
    assert learning_rate_factor(0, 0) == 1
    shares = [learning_rate_factor(step / 1000, 0.05) for step in range(1001)]
    assert max(abs(a - b) for a, b in itertools.pairwise(shares)) <= 0.0201


def test_batches_cover_each_epoch_once() -> None:
    """An epoch contains each image at most once, leaves out an incomplete batch, and has its own order."""
    order = batch_indices(50, 16, seed=3)
    epochs = [torch.cat([next(order) for _ in range(3)]) for _ in range(4)]
    for epoch in epochs:
        assert len(epoch.unique()) == len(epoch) == 48
        assert {*epoch.tolist()} <= {*range(50)}
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4
    left_out = Counter(itertools.chain.from_iterable({*range(50)} - {*epoch.tolist()} for epoch in epochs))
    assert len(left_out) > 2
    again = batch_indices(50, 16, seed=3)
    torch.rand(5)  # the global generator does not matter
    assert torch.equal(torch.cat([next(again) for _ in range(3)]), epochs[0])
    assert not torch.equal(next(batch_indices(50, 16, seed=4)), epochs[0][:16])


def test_every_method_sees_the_same_batches_and_draws(tiny: Dataset, tmp_path: Path) -> None:
    """Each step has its own images and seed, whatever a method draws and whatever its initial weights."""
    one, other = toy(seed=1), toy(seed=2)
    list(pretrain(one, tiny.train, recipe_of(one, 6), CPU, tmp_path / "one"))
    for _ in pretrain(other, tiny.train, recipe_of(other, 6), CPU, tmp_path / "other"):
        torch.rand(7)
    assert one.batches == other.batches
    assert one.draws == other.draws
    assert len(set(one.draws)) == 6
    assert one.progress == pytest.approx([(step + 1) / 6 for step in range(6)])
    third = toy()
    list(pretrain(third, tiny.train, recipe_of(third, 6, seed=1), CPU, tmp_path / "third"))
    assert third.batches != one.batches


def test_a_run_yields_its_steps_and_lowers_the_loss(tiny: Dataset, tmp_path: Path) -> None:
    """Each step is yielded with its number and loss; a finished run leaves no file."""
    method = toy()
    steps = list(pretrain(method, tiny.train, recipe_of(method, 30), CPU, tmp_path / "run"))
    assert [step.step for step in steps] == list(range(1, 31))
    assert {step.steps for step in steps} == {30}
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "optimiser"), [*((name, "adamw") for name in TRAINED), ("moco", "sgd")])
def test_a_resumed_run_equals_an_uninterrupted_run(name: str, optimiser: str, tiny: Dataset, tmp_path: Path) -> None:
    """A run that is closed and resumed with a new method object ends with the same weights, bit for bit."""
    whole, cut, resumed = build_method(name), build_method(name), build_method(name, seed=5)
    recipe = recipe_of(whole, 4, optimiser=optimiser)
    losses = [step.loss for step in pretrain(whole, tiny.train, recipe, CPU, tmp_path / "whole")]
    run = pretrain(cut, tiny.train, recipe, CPU, tmp_path / "cut")
    before = [next(run).loss for _ in range(2)]
    run.close()
    after = list(pretrain(resumed, tiny.train, recipe, CPU, tmp_path / "cut"))
    assert [step.step for step in after] == [1, 2, 3, 4], "the finished steps are yielded again"
    assert before == losses[:2]
    assert [step.loss for step in after] == losses
    state = resumed.state_dict()
    for key, value in whole.state_dict().items():
        assert torch.equal(state[key], value), key


def test_a_run_is_saved_regularly(tiny: Dataset, tmp_path: Path) -> None:
    """The training state is also saved during training, so a power cut does not lose the run."""
    method = toy()
    run = pretrain(method, tiny.train, recipe_of(method, 5), CPU, tmp_path / "run", save_every=0)
    next(run)
    assert not (tmp_path / "run").exists()
    next(run)
    assert len(torch.load(tmp_path / "run", weights_only=True)["history"]) == 1
    list(run)
    assert len(torch.load(tmp_path / "run", weights_only=True)["history"]) == 4, "a finished run does not save"


def test_an_interrupted_step_is_not_saved(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a step saves nothing; the state of the last complete step remains."""
    method = toy()
    run = pretrain(method, tiny.train, recipe_of(method, 5), CPU, tmp_path / "run", save_every=0)
    next(run), next(run)

    def interrupt(progress: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(method, "after_step", interrupt)  # the weights have moved, the step is not done
    with pytest.raises(KeyboardInterrupt):
        next(run)
    saved = torch.load(tmp_path / "run", weights_only=True)
    fresh = toy()
    list(itertools.islice(pretrain(fresh, tiny.train, recipe_of(fresh, 5), CPU, tmp_path / "fresh"), 2))
    assert len(saved["history"]) == 2
    assert all(torch.equal(value, saved["method"][name]) for name, value in fresh.state_dict().items())


def test_a_run_that_cannot_read_its_next_batch_is_saved(tiny: Dataset, tmp_path: Path) -> None:
    """An unreadable image ends a run; once it is repaired, the run resumes as if it had not been interrupted."""

    class Files:
        """Images whose third batch cannot be read."""

        reads = 0

        def __len__(self) -> int:
            return len(tiny.train)

        def __getitem__(self, indices: Tensor | slice) -> Tensor:
            self.reads += 1
            if self.reads == 3:
                raise UserError("0.jpg: cannot be read")
            return tiny.train.images[indices]

    whole, cut, resumed = build_method("rotnet"), build_method("rotnet"), build_method("rotnet", seed=5)
    recipe = recipe_of(whole, 4)
    losses = [step.loss for step in pretrain(whole, tiny.train, recipe, CPU, tmp_path / "whole")]
    with pytest.raises(UserError, match=r"0\.jpg"):
        list(pretrain(cut, replace(tiny.train, images=Files()), recipe, CPU, tmp_path / "cut"))
    assert len(torch.load(tmp_path / "cut", weights_only=True)["history"]) == 2
    assert [step.loss for step in pretrain(resumed, tiny.train, recipe, CPU, tmp_path / "cut")] == losses
    state = resumed.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())


def test_a_damaged_state_is_renamed(tiny: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A saved state that is truncated or of another run is renamed with a warning, and the run starts again."""
    method = toy()
    recipe = recipe_of(method, 3)
    whole = [step.loss for step in pretrain(method, tiny.train, recipe, CPU, tmp_path / "whole")]
    run = pretrain(toy(), tiny.train, recipe, CPU, tmp_path / "run")
    next(run)
    run.close()
    saved = torch.load(tmp_path / "run", weights_only=True)
    damaged = {
        "short": (tmp_path / "run").read_bytes()[:-2000],
        "optimiser": serialised(saved | {"optimiser": {}}),
        "layers": serialised(saved | {"method": dict(reversed(list(saved["method"].items())[:-1]))}),
        "history": serialised(saved | {"history": [("a", 0.0)]}),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        caplog.clear()
        fresh = toy()
        assert [step.loss for step in pretrain(fresh, tiny.train, recipe, CPU, tmp_path / name)] == whole
        assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in method.state_dict().items())
        (line,) = caplog.messages
        assert f"{name}: this interrupted run cannot be resumed" in line
        assert "\n" not in line
        assert (tmp_path / f"{name}.damaged").read_bytes() == content
        assert not (tmp_path / name).exists()


def test_divergence_names_the_step(tiny: Dataset, tmp_path: Path) -> None:
    """A loss that is not finite ends the run with the number of the step, and leaves no file."""
    method = toy(breaks_at=3)
    run = pretrain(method, tiny.train, recipe_of(method, 5), CPU, tmp_path / "run", save_every=0)
    assert [next(run).step for _ in range(2)] == [1, 2]
    with pytest.raises(Diverged, match="nan at step 3 of 5"):
        next(run)
    assert not any(tmp_path.iterdir())
    assert all(value.isfinite().all() for value in method.state_dict().values())


@pytest.mark.parametrize("name", TRAINED)
def test_counting_flops_changes_nothing(name: str, tiny: Dataset) -> None:
    """Counting leaves weights, random state and the next loss unchanged, and gives the same number again."""
    method, recipe = build_method(name), Recipe(batch_size=16)
    before = copy.deepcopy(method.state_dict())
    batch = make_batch(method, tiny.train, torch.arange(16), CPU)
    torch.manual_seed(0)
    expected = copy.deepcopy(method).train().loss(batch).item()
    torch.manual_seed(0)
    flops = count_step_flops(method, tiny.train, recipe, CPU)
    assert method.loss(batch).item() == expected
    method.load_state_dict(before)
    assert count_step_flops(method, tiny.train, recipe, CPU) == flops > 1_000_000
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("name", TRAINED)
def test_biases_and_norm_weights_do_not_decay(name: str, optimiser: str) -> None:
    """Every trained parameter is in one group; matrices and filters decay, biases, norms and single vectors do not."""
    method = build_method(name)
    made = build_optimiser(method, Recipe(optimiser=optimiser, weight_decay=0.3))  # type: ignore[arg-type]
    decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    names = {id(p): name for name, p in method.named_parameters()}
    without_decay = {
        id(p)
        for module in method.modules()
        for key, p in module.named_parameters(recurse=False)
        if key in ("bias", "in_proj_bias", "mask_token", "log_scale")
        or isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm)
    }
    assert len(without_decay) > 2
    assert decay.keys() == {id(p) for p in method.parameters() if p.requires_grad}
    for key, value in decay.items():
        assert value == (0.0 if key in without_decay else 0.3), names[key]


def test_a_batch_holds_what_is_needed(tiny: Dataset) -> None:
    """It has images, indices and what the method declares; clips repeat where there are fewer than images."""
    method, indices = toy(), torch.tensor([5, 63, 0])
    plain = make_batch(method, tiny.train, indices, CPU)
    assert torch.equal(plain.images, tiny.train.images[indices])
    assert torch.equal(plain.indices, indices)
    assert (plain.labels, plain.clips, plain.depth, plain.captions) == (None,) * 4
    method.needs = frozenset({"labels", "clips", "depth", "captions"})  # type: ignore[misc]
    rich = make_batch(method, tiny.train, indices, CPU)
    assert rich.labels is not None
    assert rich.clips is not None
    assert rich.depth is not None
    assert rich.labels.tolist() == [tiny.train.labels[i].item() for i in (5, 63, 0)]
    assert len(tiny.train.clips) == 6  # type: ignore[arg-type]
    assert torch.equal(rich.clips, tiny.train.clips[[5, 3, 0]])  # type: ignore[index]
    assert torch.equal(rich.depth, tiny.train.depth[indices])  # type: ignore[index]
    assert rich.captions == tuple(tiny.train.captions[i] for i in (5, 63, 0))  # type: ignore[index]
