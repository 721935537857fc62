"""Video colourisation: the choice of frames, the clusters of colours, and what is copied from where."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sslbench.bench.data import Dataset
from sslbench.bench.data.synthetic import Synthetic
from sslbench.bench.encoders._input_mode import encoder_for_input_mode
from sslbench.bench.encoders.convnet import ConvNet
from sslbench.bench.errors import UserError
from sslbench.bench.images.augment import to_float
from sslbench.bench.images.colour import lab_to_rgb, rgb_to_lab
from sslbench.bench.method import Batch, TrainInfo
from sslbench.bench.training.loop import pretrain
from sslbench.bench.training.recipe import Recipe
from sslbench.methods._copying import SMOOTHING, ColourClusters, attention_weights, quarter_chroma
from sslbench.methods.video_colorization import VideoColorization

TRAIN_INFO = TrainInfo(num_images=64, num_classes=10, image_size=32)


def make_method(**settings: float) -> VideoColorization:
    torch.manual_seed(0)
    return VideoColorization(encoder_for_input_mode(ConvNet, "lightness", 32, {"width": 4}), TRAIN_INFO, **settings)  # type: ignore[arg-type]


def make_batch(clips: Tensor) -> Batch:
    return Batch(images=clips[:, 0], indices=torch.arange(len(clips)), clips=clips)


def numbered(N: int, T: int) -> Tensor:
    """Clips whose pixels have the number of their frame as value."""
    return torch.arange(T, dtype=torch.uint8).view(1, T, 1, 1, 1).expand(N, T, 3, 4, 4)


def test_frames_are_references_and_then_the_target() -> None:
    """R + 1 frames in order, ``stride`` apart, from a random start per clip; all possible starts occur."""
    torch.manual_seed(0)
    frames = make_method().draw_frames(make_batch(numbered(50, 8)))
    assert frames.shape == (50, 4, 3, 4, 4)
    assert {tuple(row) for row in frames[:, :, 0, 0, 0].tolist()} == {(0, 2, 4, 6), (1, 3, 5, 7)}
    frames = make_method(references=2, stride=1).draw_frames(make_batch(numbered(50, 5)))
    assert {tuple(row) for row in frames[:, :, 0, 0, 0].tolist()} == {(0, 1, 2), (1, 2, 3), (2, 3, 4)}


def test_short_clips_have_a_smaller_stride() -> None:
    """The largest stride that fits replaces one that does not; too few frames are an error that names the setting."""
    frames = make_method().draw_frames(make_batch(numbered(9, 6)))
    assert {tuple(row) for row in frames[:, :, 0, 0, 0].tolist()} <= {(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)}
    with pytest.raises(UserError, match=r"^video_colorization\.references = 3: clips of 3 frames .* lower it to 2"):
        make_method().loss(make_batch(numbered(2, 3)))


def test_every_frame_is_counted_as_a_view() -> None:
    """The encoder gets all references and the target."""
    assert make_method().views_per_image == 4
    assert make_method(references=1).views_per_image == 2


def test_the_loss_matches_a_loop(tiny: Dataset) -> None:
    """A target place copies the references' clusters by attention; the loss is -log of the true cluster's share."""
    assert tiny.train.clips is not None
    method = make_method(references=2, stride=3, colours=5, dim=6, temperature=0.7).eval()
    for parameter in method.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # so that attention is far from uniform
    clips = tiny.train.clips[:3]
    torch.manual_seed(1)
    loss = method.loss(make_batch(clips))
    torch.manual_seed(1)
    frames = method.draw_frames(make_batch(clips))
    size = frames.shape[-1] // 4
    terms, uniform, right = [], [], []
    for clip in frames:
        maps = method.encoder.features(clip, ["conv4", "conv5"])
        embedded = sum(method.heads[tap](maps[tap], 32) for tap in ("conv4", "conv5"))
        colours = rgb_to_lab(clip)[:, 1:].view(3, 2, size, 4, size, 4).mean((3, 5))

        def cluster(t: int, y: int, x: int, colours: Tensor = colours) -> int:
            away = (method.clusters.centres - colours[t, :, y, x]).norm(dim=1).tolist()
            return away.index(min(away))

        places = list(itertools.product(range(2), range(size), range(size)))
        for y, x in itertools.product(range(size), range(size)):
            scores = [
                (embedded[2, :, y, x] * embedded[t, :, v, u]).sum().item() / method.temperature for t, v, u in places
            ]
            weights = [math.exp(score - max(scores)) for score in scores]
            copied = [0.0] * 5
            for weight, place in zip(weights, places, strict=True):
                copied[cluster(*place)] += weight / sum(weights)
            truth = cluster(2, y, x)
            terms.append(-math.log((1 - SMOOTHING) * copied[truth] + SMOOTHING / 5))
            share = sum(cluster(*place) == truth for place in places) / len(places)
            uniform.append(-math.log((1 - SMOOTHING) * share + SMOOTHING / 5))
            right.append(copied.index(max(copied)) == truth)
    assert len(set(terms)) > 10
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert method.logged["uniform"].item() == pytest.approx(sum(uniform) / len(uniform), rel=1e-3)
    assert method.logged["accuracy"].item() == pytest.approx(sum(right) / len(right), abs=0.01)


def test_no_colour_reaches_the_encoder(tiny: Dataset) -> None:
    """Attention is the same for frames without their colours."""
    assert tiny.train.clips is not None
    method = make_method().eval()
    frames = to_float(tiny.train.clips[:2, :4])
    lightness = rgb_to_lab(frames.flatten(0, 1))
    lightness[:, 1:] = 0
    grey = lab_to_rgb(lightness).view_as(frames)
    assert (grey - frames).abs().max() > 0.2
    torch.testing.assert_close(method.attention(grey), method.attention(frames), atol=1e-4, rtol=0)


def test_attention_finds_what_has_moved() -> None:
    """A place attends to the reference place with its embedding; a higher temperature makes attention softer."""
    torch.manual_seed(0)
    references = torch.eye(12).view(1, 12, 12)
    order = torch.randperm(12)
    target = 3 * references[:, order]
    assert torch.equal(attention_weights(target, references, 1.0).argmax(2)[0], order)
    sharp, soft = (attention_weights(target, references, t).amax(2).mean() for t in (0.5, 2.0))
    torch.testing.assert_close(sharp, torch.tensor(math.exp(6) / (math.exp(6) + 11)))
    torch.testing.assert_close(soft, torch.tensor(math.exp(1.5) / (math.exp(1.5) + 11)))


def test_centres_converge_to_the_colours() -> None:
    """Given the same few colours many times, each gets its own centre; in evaluation mode no centre moves."""
    torch.manual_seed(0)
    blobs = torch.tensor([[30.0, 10.0], [-20.0, 5.0], [0.0, -25.0]])
    clusters = ColourClusters(8)
    start = clusters.centres.clone()
    for _ in range(20):
        clusters(blobs.repeat(50, 1) + 0.5 * torch.randn(150, 2))
    nearest = torch.cdist(blobs, clusters.centres)
    assert nearest.amin(1).max() < 1.5
    assert len(nearest.argmin(1).unique()) == 3
    before = clusters.centres.clone()
    assert not torch.equal(before, start)
    assert clusters.eval()(blobs.view(1, 3, 2)).tolist() == [nearest.argmin(1).tolist()]
    assert torch.equal(clusters.centres, before)


def test_a_centre_is_a_running_mean() -> None:
    """It is the mean of its first position, counted once, and of all colours assigned to it in any batch."""
    clusters = ColourClusters(2)
    clusters.centres = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    for batch in ([[4.0, 2.0], [90.0, 0.0]], [[2.0, 4.0]]):
        clusters(torch.tensor(batch))
    torch.testing.assert_close(clusters.centres, torch.tensor([[2.0, 2.0], [95.0, 0.0]]))
    assert clusters.counts.tolist() == [3, 2]


def test_places_are_numbered_row_by_row() -> None:
    """The chroma of a place is the mean over its square of 4 x 4 pixels."""
    frames = torch.rand(2, 3, 3, 8, 8)
    places = quarter_chroma(frames)
    assert places.shape == (2, 3, 4, 2)
    for n, t, y, x in itertools.product(range(2), range(3), range(2), range(2)):
        square = rgb_to_lab(frames[n, t].unsqueeze(0))[0, 1:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        torch.testing.assert_close(places[n, t, 2 * y + x], square.mean((1, 2)), atol=1e-4, rtol=1e-4)


def test_panels_show_a_perfect_copy(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention to the right places, the copied colours are right; the target is shown without colours."""
    assert tiny.train.clips is not None
    method = make_method().eval()
    still = tiny.train.clips[:2, :1].expand(-1, 8, -1, -1, -1)  # nothing moves, so each place is the source of itself

    def own_place(frames: Tensor) -> Tensor:
        return torch.cat([torch.zeros(2, 64, 128), torch.eye(64).expand(2, 64, 64)], dim=2)

    monkeypatch.setattr(method, "attention", own_place)
    reference, target, copied, truth = method.panels(make_batch(still))
    assert copied.captions == ("ab error 0", "ab error 0")
    assert rgb_to_lab(target.images)[:, 1:].abs().max() < 1
    assert torch.equal(reference.images, truth.images)
    # The copy has a quarter of the resolution.
    assert (rgb_to_lab(copied.images) - rgb_to_lab(truth.images))[:, 1:].abs().mean() < 8


@pytest.mark.slow
def test_the_loss_falls_below_that_of_uniform_attention(tmp_path: Path) -> None:
    """After 300 steps on clips with moving objects, the loss is well below that of equal attention to all places."""
    data = Synthetic(train=2_000, test=20).load(frozenset({"clips"}))
    torch.manual_seed(0)
    encoder = encoder_for_input_mode(ConvNet, "lightness", 32, {"width": 8})
    method = VideoColorization(encoder, TrainInfo(num_images=2_000, num_classes=10, image_size=32))
    recipe = Recipe(views=300 * 4 * 16, batch_size=16)
    steps = list(pretrain(method, data.train, recipe, torch.device("cpu"), tmp_path / "run"))
    assert len(steps) == 300
    last = steps[-30:]
    assert sum(step.loss for step in last) < 0.7 * sum(step.logged["uniform"] for step in last)
