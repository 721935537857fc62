"""Robustness: corruptions agree with loops and other libraries, and accuracies are of what was corrupted."""

from __future__ import annotations

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from sslbench.protocols._corruptions import CORRUPTIONS, SEVERITIES, corruption
from sslbench.protocols.robustness import Robustness
from tests.protocols.builders import ideal_representation, representation_of

PICTURES = torch.randint(256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("side", "strength"), [(32, 0.1), (64, 0.1), (65, 0.38), (224, 0.38)])
def test_noise_has_the_strength_of_the_size_of_the_pictures(side: int, strength: float) -> None:
    """Grey pictures vary by the constant, of CIFAR-10-C up to 64 pixels, as far as [0, 1] allows."""
    grey = torch.full((2, 3, 64, 64), 0.5) + torch.tensor([0.0, 0.01]).view(2, 1, 1, 1)
    noisy = corruption("noise", 5, side)(grey)
    cut = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).mul(strength).clamp(-0.5, 0.5)
    assert float((noisy - grey)[0].std()) == pytest.approx(float(cut.std()), rel=0.05)
    assert not torch.allclose((noisy - grey)[0], (noisy - grey)[1], atol=0.01)


def test_noise_depends_on_the_picture_alone() -> None:
    """Not on the batch that it comes in, nor on the global generator."""
    add_noise = corruption("noise", 3, 32)
    together = add_noise(PICTURES)
    torch.rand(5)
    alone = torch.cat([add_noise(picture[None]) for picture in PICTURES.flip(0)]).flip(0)
    assert torch.equal(together, alone)


@pytest.mark.parametrize(("side", "strengths"), [(32, (0.4, 0.6, 0.7, 0.8, 1)), (96, (1, 2, 3, 4, 6))])
def test_blur_agrees_with_scipy(side: int, strengths: tuple[float, ...]) -> None:
    """Each channel of each picture, at all severities, borders included."""
    for severity, sigma in zip(SEVERITIES, strengths, strict=True):
        found = corruption("blur", severity, side)(PICTURES)
        for picture, blurred in zip(PICTURES, found, strict=True):
            for channel, expected in zip(picture.double().numpy(), blurred, strict=True):
                filtered = gaussian_filter(channel, sigma, mode="nearest", truncate=4)
                np.testing.assert_allclose(expected, filtered, atol=0.51)  # rounded


def test_jpeg_is_what_pillow_writes() -> None:
    """Quality 40 is the strongest for small pictures."""
    found = corruption("jpeg", 5, 32)(PICTURES)
    for picture, compressed in zip(PICTURES, found, strict=True):
        file = BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
        expected = np.asarray(Image.open(file))
        assert (compressed.permute(1, 2, 0).numpy() == expected).all()


def test_brightness_agrees_with_hsv() -> None:
    """The value of each pixel rises by 0.3, at most to 1; hue and saturation stay. Black becomes grey."""
    pictures = PICTURES.clone()
    pictures[0, :, 0, 0] = 0
    found = corruption("brightness", 5, 32)(pictures)
    for picture, brighter in zip(pictures, found, strict=True):
        for before, after in zip(picture.flatten(1).T.tolist(), brighter.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in before))
            expected = colorsys.hsv_to_rgb(hue, saturation, min(value + 0.3, 1))
            np.testing.assert_allclose(after, [255 * part for part in expected], atol=0.51)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pictures_keep_their_kind_and_a_higher_severity_changes_more(name: str) -> None:
    """uint8 stays uint8, floats in [0, 1] stay floats, and the pictures given are not written to."""
    before = PICTURES.clone()
    smooth = torch.linspace(0, 200, 12).expand(2, 3, 12, 12).byte()
    distances = []
    for severity in SEVERITIES:
        changed = corruption(name, severity, 32)(PICTURES)
        assert changed.dtype == torch.uint8
        as_floats = corruption(name, severity, 32)(smooth / 255)
        assert as_floats.is_floating_point()
        assert 0 <= float(as_floats.min()) <= float(as_floats.max()) <= 1
        distances.append(float((changed.float() - PICTURES).square().mean()))
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]
    assert torch.equal(before, PICTURES)


def test_accuracies_are_means_over_severities_and_corruptions() -> None:
    """The headline is the mean of twenty accuracies, and the second number its share of the clean accuracy."""
    found = {m.metric: m.value for m in Robustness(taps=("conv5",)).evaluate(ideal_representation(noise=0.3))}
    for name in CORRUPTIONS:
        single = [found[f"accuracy_{name}_{severity}"] for severity in SEVERITIES]
        assert found[f"accuracy_{name}"] == pytest.approx(np.mean(single))
    mean = np.mean([found[f"accuracy_{name}"] for name in CORRUPTIONS])
    assert found["corrupted_accuracy"] == pytest.approx(mean)
    assert found["relative_accuracy"] == pytest.approx(mean / found["clean_accuracy"])
    assert len({found[f"accuracy_{name}"] for name in CORRUPTIONS}) > 1


def test_a_classifier_that_reads_brightness_fails_in_bright_pictures() -> None:
    """Dark and bright grey pictures: noise hardly matters, but what is dark looks bright after it was brightened."""
    labels = torch.arange(100) % 2
    features = (0.2 + 0.25 * labels)[:, None].expand(-1, 3) + 0.01 * torch.rand(
        100, 3, generator=torch.Generator().manual_seed(0)
    )
    representation = representation_of(features, labels, features, labels)
    found = {one.metric: one.value for one in Robustness(taps=("conv5",)).evaluate(representation)}
    assert found["clean_accuracy"] == 1
    assert found["accuracy_jpeg"] == 1
    assert found["accuracy_brightness_1"] == 1
    assert found["accuracy_brightness_5"] == 0.5


def test_table_and_figure_leave_single_severities_to_the_figure() -> None:
    """The table has a column per corruption; the figure has a panel per corruption with a line per method."""
    import pandas as pd

    names = [metric.name for metric in Robustness.metrics]
    names += [f"accuracy_{name}_{severity}" for name in CORRUPTIONS for severity in SEVERITIES]
    row = {"tap": "conv5", "ci_half_width": np.nan, "failed": False, "rank": np.nan, "tied_with_best": False}
    row |= {"unit": "fraction", "higher_is_better": True, "chance": 0.1}
    rows = [
        {"label": label, "role": role, "metric": name, "mean": mean, **row}
        for name in names
        for label, role, mean in (("rotnet", "", 0.5), ("random", "floor", 0.2))
    ]
    measured, figure = pd.DataFrame(rows), Figure()
    (table,) = Robustness.table(measured, measured)
    assert [name if isinstance(name, str) else name[0] for name in table.columns] == [
        "method",
        *(f"{metric.name} (%)" for metric in Robustness.metrics),
    ]
    Robustness.plot(measured, measured, figure)
    assert [axes.get_title() for axes in figure.axes] == list(CORRUPTIONS)
    assert [len(axes.lines) for axes in figure.axes] == [2] * 4
    assert list(figure.axes[0].lines[0].get_xdata()) == [0, 1, 2, 3, 4, 5]
