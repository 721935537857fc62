"""What every method in methods/ promises; plugins are found by the folder listing, so a new file is tested too."""

from __future__ import annotations

import ast
import copy
import inspect
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sslbench.bench.checkpoints.store import read_manifest
from sslbench.bench.data import Dataset
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.bench.plugins.discovery import Plugin, find_plugins, needs_of, plugin_files
from sslbench.bench.plugins.method_kinds import KINDS
from sslbench.bench.records.comparable import CEILING, FLOOR
from sslbench.bench.training.loop import make_batch
from tests.builders import encoder_for, plugins_under_test

ALL = list(plugins_under_test("method").values())
TRAINED = [plugin for plugin in ALL if plugin.constants.get("trains", True)]
LOGGED = {  # method -> what was logged when its bundled encoder was pretrained
    metadata["method"]: metadata["pretext"].keys() - {"first_loss", "last_loss", "collapsed"}
    for metadata in read_manifest().values()
}
CPU = torch.device("cpu")
every = pytest.mark.parametrize("plugin", ALL, ids=lambda plugin: plugin.name)
every_trained = pytest.mark.parametrize("plugin", TRAINED, ids=lambda plugin: plugin.name)


def make_method(plugin: Plugin, *, size: int = 32, seed: int = 0, **settings: Any) -> Method:
    """The method with a narrow encoder and the settings of a short run."""
    torch.manual_seed(seed)
    train_info = TrainInfo(num_images=64, num_classes=10, image_size=size)
    cls: Any = plugin.load()
    return cls(encoder_for(plugin, size=size), train_info, **cls.short_run_settings | settings).train()


def batch_for(method: Method, data: Dataset, start: int = 0, size: int = 16) -> Batch:
    """A batch as the training loop makes it: with what the method needs and nothing else."""
    return make_batch(method, data.train, torch.arange(start, start + size), CPU)


def seeded_loss(method: Method, batch: Batch, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return method.loss(batch)


def train_a_few_steps(method: Method, data: Dataset, steps: range) -> list[float]:
    """The losses of a few steps of plain gradient descent, each with its own batch and seed."""
    losses = []
    for step in steps:
        loss = seeded_loss(method, batch_for(method, data, 8 * step), step)
        method.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in method.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
        method.after_step((step + 1) / 4)
        losses.append(loss.item())
    return losses


@every
def test_the_docstring_cites_its_source(plugin: Plugin) -> None:
    """The module docstring begins with one sentence, and has a URL, a year and a paragraph on where we differ."""
    text = ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""
    assert re.fullmatch(r"\S.*[.\])]", plugin.summary)
    assert re.search(r"https?://\S+|\bdoi:10\.\d+", text)
    assert re.search(r"\b(19|20)\d\d\b|papers\.nips", text), "the year"
    assert re.search(r"^Where we differ: \S", text, re.MULTILINE)


@every
def test_year_and_kind_are_declared(plugin: Plugin) -> None:
    """The year is that of the paper that the docstring cites first, and the kind is a known one."""
    text = ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""
    first = re.search(r"\b(?:19|20)\d\d\b", re.sub(r"https?://\S+", "", text))
    assert first
    assert plugin.constants.get("year") == int(first[0])
    assert plugin.constants.get("kind") in KINDS
    assert (plugin.constants["kind"] == "reference") == (plugin.name in (CEILING, FLOOR))


@every
def test_a_file_is_one_paper(plugin: Plugin) -> None:
    """A file holds one class named like the file, in at most 120 lines, and in at least 40 if it trains anything."""
    lines = len(plugin.path.read_text(encoding="utf-8").splitlines())
    assert lines <= 120
    assert lines >= 40 or plugin not in TRAINED
    assert issubclass(plugin.load(), Method)
    assert plugin.class_name.lower() == plugin.name.replace("_", "") == plugin.load().__name__.lower()


@every
def test_every_setting_has_a_default(plugin: Plugin) -> None:
    """Settings are keyword-only arguments, each with an annotation and a default that `list` can read."""
    _, *parameters = inspect.signature(plugin.load().__init__).parameters.values()  # type: ignore[misc]
    required, settings = parameters[:2], parameters[2:]
    assert [parameter.name for parameter in required] == ["encoder", "train_info"]
    assert {parameter.kind for parameter in settings} <= {inspect.Parameter.KEYWORD_ONLY}
    assert {parameter.name: parameter.default for parameter in settings} == plugin.defaults
    assert inspect.Parameter.empty not in {
        x for parameter in settings for x in (parameter.default, parameter.annotation)
    }
    assert set(plugin.load().short_run_settings) <= set(plugin.defaults)  # type: ignore[attr-defined]


@every
def test_needs_are_known(plugin: Plugin) -> None:
    """What a method needs is a field of a batch."""
    assert plugin.load().needs <= {"labels", "clips", "depth", "captions"}  # type: ignore[attr-defined]


@every
def test_needs_under_a_setting_are_declared(plugin: Plugin, tiny: Dataset) -> None:
    """With a setting that is listed in ``needs_if``, the method also needs what is listed, and has a finite loss."""
    for setting, need in (plugin.constants.get("needs_if") or {}).items():
        name, _, value = setting.partition("=")
        method = make_method(plugin, **{name: plugin.settings[name].parse(value, plugin.name)})
        assert method.needs == make_method(plugin).needs | {need}
        assert needs_of(plugin, plugin.defaults | {name: value}) == method.needs
        assert seeded_loss(method, batch_for(method, tiny)).isfinite()


@every
def test_only_the_ceiling_learns_from_labels(plugin: Plugin) -> None:
    """Only the ceiling of the tables needs labels: any other method would not be self-supervised."""
    assert ("labels" in plugin.load().needs) == (plugin.name == CEILING)  # type: ignore[attr-defined]


@every_trained
def test_the_loss_is_a_finite_scalar_that_trains_the_encoder(plugin: Plugin, tiny: Dataset) -> None:
    """The loss is one finite number, and its gradient reaches the encoder's first layer.

    It is zero in the first step of those methods alone that declare epochs without a gradient.
    """
    method = make_method(plugin)
    first = next(method.encoder.parameters())
    for step, start in enumerate((0, 16, 32, 48, 0)):
        loss = seeded_loss(method, batch_for(method, tiny, start))
        assert loss.shape == ()
        assert loss.isfinite()
        loss.backward()
        method.after_step(0.1)
        assert first.grad is not None
        assert first.grad.isfinite().all()
        if step == 0:
            assert bool(first.grad.any()) == (method.epochs_before_gradient == 0)
        if first.grad.any():
            break
    assert first.grad is not None
    assert first.grad.any()
    assert all(value.numel() == 1 and not value.requires_grad for value in method.logged.values())


@every_trained
def test_what_is_logged_is_in_range(plugin: Plugin, tiny: Dataset) -> None:
    """A step logs at least what was logged for the bundled encoder.

    The spread of embeddings shows a collapse. Finding one among N logs how often it was found, and log N - loss, a
    bound that is at most log N.
    """
    method = make_method(plugin)
    seeded_loss(method, batch_for(method, tiny))
    assert method.logged.keys() >= LOGGED.get(plugin.name, set())
    assert 0 < method.logged.get("spread", torch.tensor(1.0)).item() < 1.5
    assert 0 <= method.logged.get("accuracy", torch.tensor(0.0)).item() <= 1
    assert method.logged.get("bound", torch.tensor(0.0)).item() <= math.log(4 * 1024)


@every_trained
def test_the_paper_s_settings_run(plugin: Plugin, tiny: Dataset) -> None:
    """The defaults give a finite loss too."""
    method = make_method(plugin, **plugin.defaults)
    assert seeded_loss(method, batch_for(method, tiny)).isfinite()


@every_trained
def test_larger_images_work(plugin: Plugin, tiny: Dataset) -> None:
    """The loss is finite for images of 64 pixels as well; all other tests use 32."""
    method = make_method(plugin, size=64)
    batch = batch_for(method, tiny)
    larger = {
        name: value.repeat_interleave(2, -1).repeat_interleave(2, -2)
        for name in ("images", "clips", "depth")
        if (value := getattr(batch, name)) is not None
    }
    assert seeded_loss(method, Batch(**vars(batch) | larger)).isfinite()


@every_trained
def test_the_batch_is_not_modified(plugin: Plugin, tiny: Dataset) -> None:
    """Computing the loss does not write into the batch."""
    method = make_method(plugin)
    batch = batch_for(method, tiny)
    before = copy.deepcopy(batch)
    seeded_loss(method, batch)
    for name, value in vars(before).items():
        now = getattr(batch, name)
        assert torch.equal(now, value) if isinstance(value, Tensor) else now == value


@every_trained
def test_the_same_seed_gives_the_same_loss(plugin: Plugin, tiny: Dataset) -> None:
    """All randomness comes from the seed: two runs have identical losses, to the last bit."""
    once, again = (make_method(plugin, seed=3) for _ in range(2))
    assert train_a_few_steps(once, tiny, range(2)) == train_a_few_steps(again, tiny, range(2))


@every_trained
def test_heads_do_not_change_the_encoder(plugin: Plugin) -> None:
    """A seed gives every method the same initial encoder: heads are initialised after it and do not touch it."""
    torch.manual_seed(7)
    alone = encoder_for(plugin).state_dict()
    inside = make_method(plugin, seed=7).encoder.state_dict()
    assert all(torch.equal(inside[name], value) for name, value in alone.items())


@every_trained
def test_equal_images_get_different_views(plugin: Plugin, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The views of a batch of copies differ, because random numbers are drawn per image."""
    method = make_method(plugin)
    one = batch_for(method, tiny, size=1)
    repeated = {
        name: value.repeat_interleave(16, 0) if isinstance(value, Tensor) else value * 16
        for name, value in vars(one).items()
        if value is not None
    }
    seen: list[Tensor] = []
    prepare = method.encoder.prepare_images

    def recorded(images: Tensor) -> Tensor:
        views = images.detach().float().flatten(1)
        seen.append(nn.functional.pad(views, (0, 3 * 32 * 32 - views.shape[1])))  # tiles are smaller
        return prepare(images)

    monkeypatch.setattr(method.encoder, "prepare_images", recorded)
    draws = []
    for seed in (1, 2):
        seen.clear()
        seeded_loss(method, Batch(**repeated), seed)
        draws.append(torch.cat(seen))
    if torch.equal(*draws):
        pytest.skip("the views are not random")
    for views in draws:
        assert len(views.unique(dim=0)) > len(views) // 16


@every_trained
def test_after_step_keeps_the_state_finite(plugin: Plugin, tiny: Dataset) -> None:
    """After steps at the start, the middle and the end of a run, the state and the next loss are finite."""
    method = make_method(plugin)
    for progress in (0.01, 0.5, 1.0):
        seeded_loss(method, batch_for(method, tiny)).backward()
        method.after_step(progress)
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert seeded_loss(method, batch_for(method, tiny, 16)).isfinite()


@every_trained
def test_a_state_dict_holds_all_that_training_needs(plugin: Plugin, tiny: Dataset) -> None:
    """A new method that loads another one's state dict continues training exactly like that one."""
    method = make_method(plugin)
    train_a_few_steps(method, tiny, range(2))
    fresh = make_method(plugin, seed=9)
    fresh.load_state_dict(copy.deepcopy(method.state_dict()))
    assert train_a_few_steps(fresh, tiny, range(2, 4)) == train_a_few_steps(method, tiny, range(2, 4))
    for name, value in method.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


@every_trained
def test_everything_is_on_the_device_of_the_batch(plugin: Plugin, tiny: Dataset) -> None:
    """On a simulated GPU, no operation mixes tensors of the GPU and of the CPU."""
    method = make_method(plugin)
    batch = {name: value for name, value in vars(batch_for(method, tiny)).items() if value is not None}
    assert batch.keys() == {"images", "indices"} | method.needs
    with FakeTensorMode():

        def on_gpu(value: Tensor) -> Tensor:
            return torch.empty(value.shape, dtype=value.dtype, device="cuda")

        for module in method.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = nn.Parameter(on_gpu(weight), requires_grad=weight.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = on_gpu(buffer)
        batch = {name: on_gpu(value) if isinstance(value, Tensor) else value for name, value in batch.items()}
        loss = method.loss(Batch(**batch))
        assert loss.device.type == "cuda"
        assert all(value.device.type == "cuda" for value in method.logged.values())
        method.after_step(0.5)


@every_trained
def test_the_pretext_task_can_be_shown(plugin: Plugin, tiny: Dataset) -> None:
    """There are at least two panels, each with an image and a caption (or none) per item; the state stays the same."""
    method = make_method(plugin).eval()
    before = copy.deepcopy(method.state_dict())
    batch = batch_for(method, tiny, size=5)
    with torch.no_grad():
        panels = method.panels(batch)
    assert len(panels) >= 2
    assert len({panel.title for panel in panels}) == len(panels)
    for panel in panels:
        assert panel.images.shape[:2] == (5, 3)
        assert panel.images.dtype == torch.uint8 or 0 <= panel.images.min() <= panel.images.max() <= 1
        assert len(panel.captions) in (0, 5)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_every_file_is_a_plugin() -> None:
    """The listing has every file of the folder whose name does not begin with an underscore."""
    assert find_plugins("method").keys() >= {path.stem for path in plugin_files("method")}
