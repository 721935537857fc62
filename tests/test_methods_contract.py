"""What every file in methods/ promises; the folder listing is the list, so a new file is tested without an edit."""

from __future__ import annotations

import ast
import copy
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sslbench.bench.data import Dataset
from sslbench.bench.errors import UserError
from sslbench.bench.method import Batch, Method, TrainInfo
from sslbench.bench.planning.plan import needs_of
from sslbench.bench.plugins.discovery import Plugin, plugins
from sslbench.bench.report.tables import CEILING
from sslbench.bench.training.loop import batch_of
from tests.encoders import encoder_for

ALL = list(plugins("method").values())
TRAINED = [plugin for plugin in ALL if plugin.constants.get("trains", True)]
CHOOSING = ["cpc", "instdisc", "simclr", "moco", "mocov2", "mocov3", "clip", "pirl"]
EMBEDDING = [*CHOOSING, "triplet", "barlow_twins", "swav", "deepcluster", "byol", "simsiam", "vicreg", "dino", "mae"]
CPU = torch.device("cpu")
every = pytest.mark.parametrize("plugin", ALL, ids=lambda plugin: plugin.name)
every_trained = pytest.mark.parametrize("plugin", TRAINED, ids=lambda plugin: plugin.name)


def built(plugin: Plugin, *, size: int = 32, seed: int = 0, **settings: Any) -> Method:
    """The method over a narrow encoder, with the settings of a short run."""
    torch.manual_seed(seed)
    facts = TrainInfo(images=64, classes=10, image_size=size)
    return plugin.load()(encoder_for(plugin, size=size), facts, **plugin.load().short_run_settings | settings).train()  # type: ignore[attr-defined]


def batch_for(method: Method, data: Dataset, start: int = 0, size: int = 16) -> Batch:
    """A batch as the training loop makes it: with what the method declares and nothing else."""
    return batch_of(method, data.train, torch.arange(start, start + size), CPU)


def seeded_loss(method: Method, batch: Batch, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return method.loss(batch)


def trained(method: Method, data: Dataset, steps: range) -> list[float]:
    """Losses of a few plain steps, each with its own batch and seed."""
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
    """A file says in one sentence what it is, where it comes from, and where we differ from it."""
    text = ast.get_docstring(ast.parse(plugin.path.read_text(encoding="utf-8"))) or ""
    assert re.fullmatch(r"\S.*[.\])]", plugin.summary)
    assert re.search(r"https?://\S+|\bdoi:10\.\d+", text)
    assert re.search(r"\b(19|20)\d\d\b|papers\.nips", text), "the year"
    assert re.search(r"^Where we differ: \S", text, re.MULTILINE)


@every
def test_a_file_is_one_paper(plugin: Plugin) -> None:
    """One class named like the file, in at most 120 lines, and in at least 40 where something is trained.

    The list of its published weights is data, and not counted.
    """
    text = plugin.path.read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.AnnAssign)]
    lists = [node for node in nodes if ast.unparse(node.target) == "checkpoints"]
    lines = len(text.splitlines()) - sum((node.end_lineno or 0) - node.lineno + 1 for node in lists)
    assert lines <= 120
    assert lines >= 40 or plugin not in TRAINED
    assert issubclass(plugin.load(), Method)
    assert plugin.class_name.lower() == plugin.name.replace("_", "") == plugin.load().__name__.lower()


@every
def test_every_setting_has_a_default(plugin: Plugin) -> None:
    """Settings are named keyword-only arguments, each annotated and with a default that the listing shows."""
    _, *parameters = inspect.signature(plugin.load().__init__).parameters.values()  # type: ignore[misc]
    required, settings = parameters[:2], parameters[2:]
    assert [parameter.name for parameter in required] == ["encoder", "facts"]
    assert {parameter.kind for parameter in settings} <= {inspect.Parameter.KEYWORD_ONLY}
    assert {parameter.name: parameter.default for parameter in settings} == plugin.defaults
    assert inspect.Parameter.empty not in {
        x for parameter in settings for x in (parameter.default, parameter.annotation)
    }
    assert set(plugin.load().short_run_settings) <= set(plugin.defaults)  # type: ignore[attr-defined]


@every
def test_needs_are_known(plugin: Plugin) -> None:
    """What a method needs is something that a batch can hold."""
    assert plugin.load().needs <= {"labels", "clips", "depth", "captions"}  # type: ignore[attr-defined]


@every
def test_needs_under_a_setting_are_declared(plugin: Plugin, tiny: Dataset) -> None:
    """What ``needs_if`` says of a setting is what the method needs under it, and then it learns from that."""
    for setting, need in (plugin.constants.get("needs_if") or {}).items():
        name, _, value = setting.partition("=")
        method = built(plugin, **{name: plugin.settings[name].parsed(value, plugin.name)})
        assert method.needs == built(plugin).needs | {need}
        assert needs_of(plugin, plugin.defaults | {name: value}) == method.needs
        assert seeded_loss(method, batch_for(method, tiny)).isfinite()


@every
def test_only_the_ceiling_learns_from_labels(plugin: Plugin) -> None:
    """A label is for the method that every table calls its ceiling; any other would not be self-supervised."""
    assert ("labels" in plugin.load().needs) == (plugin.name == CEILING)  # type: ignore[attr-defined]


@every_trained
def test_a_bad_setting_is_refused(plugin: Plugin) -> None:
    """A number that makes no sense (far below zero, or not a number) is a UserError that names the setting."""
    for name, default in plugin.defaults.items():
        values = [-(10**6)] if type(default) is int else [-1e6, float("nan")] if type(default) is float else []
        for value in values:
            with pytest.raises(UserError, match=f"^{plugin.name}.{name} = "):
                built(plugin, **{name: value})


@every_trained
def test_the_loss_is_a_finite_scalar_that_trains_the_encoder(plugin: Plugin, tiny: Dataset) -> None:
    """The loss is one finite number, and its gradient reaches the encoder's first layer.

    In the second epoch at the latest: the first may only fill what a method remembers of the images.
    """
    method = built(plugin)
    first = next(method.encoder.parameters())
    for start in (0, 16, 32, 48, 0):
        loss = seeded_loss(method, batch_for(method, tiny, start))
        assert loss.shape == ()
        assert loss.isfinite()
        loss.backward()
        method.after_step(0.1)
        assert first.grad is not None
        assert first.grad.isfinite().all()
        if first.grad.any():
            break
    assert first.grad is not None
    assert first.grad.any()
    assert all(value.numel() == 1 and not value.requires_grad for value in method.logged.values())


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_collapse_is_watched(name: str, tiny: Dataset) -> None:
    """How far embeddings lie apart goes into logs and records, where a table's collapsed runs are told by it."""
    method = built(plugins("method")[name])
    seeded_loss(method, batch_for(method, tiny))
    assert 0 < method.logged["spread"].item() < 1.5


@pytest.mark.parametrize("name", CHOOSING)
def test_the_bound_and_the_right_choices_are_watched(name: str, tiny: Dataset) -> None:
    """Finding one among many reports how often it was found, and log N - loss, which is at most log N."""
    method = built(plugins("method")[name])
    seeded_loss(method, batch_for(method, tiny))
    assert 0 <= method.logged["accuracy"].item() <= 1
    assert method.logged["bound"].item() <= math.log(4 * 1024)


@every_trained
def test_the_paper_s_settings_run(plugin: Plugin, tiny: Dataset) -> None:
    """The defaults, too, give a finite loss."""
    method = built(plugin, **plugin.defaults)
    assert seeded_loss(method, batch_for(method, tiny)).isfinite()


@every_trained
def test_larger_images(plugin: Plugin, tiny: Dataset) -> None:
    """Images of 64 pixels are as fine as those of 32 that all other tests give."""
    method = built(plugin, size=64)
    batch = batch_for(method, tiny)
    larger = {
        name: value.repeat_interleave(2, -1).repeat_interleave(2, -2)
        for name in ("images", "clips", "depth")
        if (value := getattr(batch, name)) is not None
    }
    assert seeded_loss(method, Batch(**vars(batch) | larger)).isfinite()


@every_trained
def test_the_batch_is_left_alone(plugin: Plugin, tiny: Dataset) -> None:
    """A loss does not write into what it is given."""
    method = built(plugin)
    batch = batch_for(method, tiny)
    before = copy.deepcopy(batch)
    seeded_loss(method, batch)
    for name, value in vars(before).items():
        now = getattr(batch, name)
        assert torch.equal(now, value) if isinstance(value, Tensor) else now == value


@every_trained
def test_same_seed_same_loss(plugin: Plugin, tiny: Dataset) -> None:
    """All randomness comes from the seed: built and run twice, a method gives the same loss to the last bit."""
    once, again = (built(plugin, seed=3) for _ in range(2))
    assert trained(once, tiny, range(2)) == trained(again, tiny, range(2))


@every_trained
def test_heads_do_not_shift_the_encoder(plugin: Plugin) -> None:
    """A seed gives every method the same encoder: heads are drawn after it and never touch it."""
    torch.manual_seed(7)
    alone = encoder_for(plugin).state_dict()
    inside = built(plugin, seed=7).encoder.state_dict()
    assert all(torch.equal(inside[name], value) for name, value in alone.items())


@every_trained
def test_equal_images_get_different_views(plugin: Plugin, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch of copies the encoder sees more different views than of one image: draws are per image."""
    method = built(plugin)
    one = batch_for(method, tiny, size=1)
    repeated = {
        name: value.repeat_interleave(16, 0) if isinstance(value, Tensor) else value * 16
        for name, value in vars(one).items()
        if value is not None
    }
    seen: list[Tensor] = []
    prepare = method.encoder.prepared

    def recorded(images: Tensor) -> Tensor:
        views = images.detach().float().flatten(1)
        seen.append(nn.functional.pad(views, (0, 3 * 32 * 32 - views.shape[1])))  # tiles are smaller
        return prepare(images)

    monkeypatch.setattr(method.encoder, "prepared", recorded)
    draws = []
    for seed in (1, 2):
        seen.clear()
        seeded_loss(method, Batch(**repeated), seed)
        draws.append(torch.cat(seen))
    if torch.equal(*draws):
        pytest.skip("no randomness in the views")
    for views in draws:
        assert len(views.unique(dim=0)) > len(views) // 16


@every_trained
def test_after_step_keeps_what_it_must(plugin: Plugin, tiny: Dataset) -> None:
    """After steps at the start, middle and end of a run all state is finite, and the next loss too."""
    method = built(plugin)
    for progress in (0.01, 0.5, 1.0):
        seeded_loss(method, batch_for(method, tiny)).backward()
        method.after_step(progress)
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert seeded_loss(method, batch_for(method, tiny, 16)).isfinite()


@every_trained
def test_a_state_dict_holds_all_that_training_needs(plugin: Plugin, tiny: Dataset) -> None:
    """A fresh method filled from another's state dict goes on exactly as that one does."""
    method = built(plugin)
    trained(method, tiny, range(2))
    fresh = built(plugin, seed=9)
    fresh.load_state_dict(copy.deepcopy(method.state_dict()))
    assert trained(fresh, tiny, range(2, 4)) == trained(method, tiny, range(2, 4))
    for name, value in method.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


@every_trained
def test_no_device_slips(plugin: Plugin, tiny: Dataset) -> None:
    """Moved to a GPU that is only pretended, nothing meets a tensor of the CPU."""
    method = built(plugin)
    batch = {name: value for name, value in vars(batch_for(method, tiny)).items() if value is not None}
    assert batch.keys() == {"images", "indices"} | method.needs
    with FakeTensorMode():

        def moved(value: Tensor) -> Tensor:
            return torch.empty(value.shape, dtype=value.dtype, device="cuda")

        for module in method.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = nn.Parameter(moved(weight), requires_grad=weight.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = moved(buffer)
        batch = {name: moved(value) if isinstance(value, Tensor) else value for name, value in batch.items()}
        loss = method.loss(Batch(**batch))
        assert loss.device.type == "cuda"
        assert all(value.device.type == "cuda" for value in method.logged.values())
        method.after_step(0.5)


@every_trained
def test_the_pretext_task_can_be_shown(plugin: Plugin, tiny: Dataset) -> None:
    """At least two columns, as long as the batch, of pictures in range with a caption each or none; nothing changes."""
    method = built(plugin).eval()
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


def test_nothing_is_registered_twice() -> None:
    """The listing holds every file of the folder that has no leading underscore."""
    folder = Path(ALL[0].path).parent
    assert {plugin.name for plugin in ALL} >= {path.stem for path in folder.glob("[!_]*.py")}
