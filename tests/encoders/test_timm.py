"""Networks of timm: the last tap and the class token are what timm's own ``forward_features`` gives."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbench.bench.encoders import class_token_of
from sslbench.bench.encoders.timm import Timm
from sslbench.bench.errors import UserError
from sslbench.bench.evaluation.feature_spec import FeatureSpec
from sslbench.bench.images.input_spec import MEAN, STD

TAPS = tuple(f"conv{n}" for n in range(1, 6))


def built(name: str, size: int = 64) -> tuple[Timm, Tensor]:
    """A network with norms that change directions, as trained ones do, and two images."""
    torch.manual_seed(0)
    encoder = Timm(size, name=name).eval()
    for value in encoder.parameters():
        if value.ndim == 1:
            nn.init.normal_(value, 1, 0.3)
    return encoder, torch.rand(2, 3, size, size)


def read(encoder: Timm, images: Tensor, pooling: str) -> Tensor:
    """The features that a protocol with this pooling reads at the last tap."""
    spec = FeatureSpec(encoder.taps[-1], pooling=pooling)  # type: ignore[arg-type]
    return spec.read(encoder.features(images, spec.sources), encoder)


@pytest.mark.parametrize(
    ("name", "size", "prefix"),
    [
        ("test_vit", 64, 1),
        ("vit_small_patch14_reg4_dinov2", 28, 5),
        ("deit_tiny_distilled_patch16_224", 32, 2),
        ("cait_xxs24_224", 224, 1),
        ("beit_base_patch16_224", 32, 1),
        ("pit_ti_224", 224, 1),
    ],
)
@torch.no_grad()
def test_the_class_token_is_after_the_final_norm(name: str, size: int, prefix: int) -> None:
    """It is the first token of ``forward_features``; the mean leaves out all tokens that are no patches."""
    encoder, images = built(name, size)
    tokens = encoder.network.forward_features(encoder.prepare_images(images))
    token, mean = tokens[:, :1], tokens[:, prefix:].mean(1, keepdim=True)
    expected = [
        encoder.network.fc_norm(part) if hasattr(encoder.network, "fc_norm") else part for part in (token, mean)
    ]
    torch.testing.assert_close(read(encoder, images, "token"), expected[0][:, 0], atol=1e-4, rtol=1e-4)
    if not name.startswith("pit"):  # its norm is for the class token alone
        torch.testing.assert_close(read(encoder, images, "mean"), expected[1][:, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder(images), expected[1][:, 0], atol=1e-4, rtol=1e-4)
        both = torch.cat([part[:, 0] for part in expected], dim=1)
        torch.testing.assert_close(read(encoder, images, "token+mean"), both, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_resnet", 64),
        ("test_convnext", 64),
        ("test_convnext2", 64),
        ("test_efficientnet", 64),
        ("test_maxvit", 160),
        ("test_vit4", 64),
        ("test_vit_relpos", 64),
        ("beit_base_patch16_224", 32),
        ("swin_tiny_patch4_window7_224", 64),
        ("vit_tiny_r_s16_p8_224", 64),
    ],
)
@torch.no_grad()
def test_the_embedding_is_timms_own(name: str, size: int) -> None:
    """The mean of the last tap, with the norm that some networks apply after pooling, is timm's pooled embedding."""
    encoder, images = built(name, size)
    features = encoder.network.forward_features(encoder.prepare_images(images))
    own = encoder.network.forward_head(features, pre_logits=True)
    if encoder.token_taps and encoder.network.global_pool == "token":
        torch.testing.assert_close(read(encoder, images, "token"), own, atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(encoder(images), own, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_inner_taps_are_before_the_final_norm() -> None:
    """Only the last tap is normalised; the class token of an inner tap is the block's own."""
    encoder, images = built("test_vit")
    assert encoder.token_taps == encoder.taps == TAPS
    inner, outer = encoder.taps[-2:]
    found = encoder.features(images, [inner, class_token_of(inner), outer])
    assert list(found) == [inner, class_token_of(inner), outer]
    network, prepared = encoder.network, encoder.prepare_images(images)
    tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(prepared))))
    for block in network.blocks[: encoder.layers[-2] + 1]:
        tokens = block(tokens)
    torch.testing.assert_close(found[class_token_of(inner)].flatten(1), tokens[:, 0])
    torch.testing.assert_close(found[inner].flatten(2).mT, tokens[:, 1:])
    assert F.cosine_similarity(network.norm(tokens)[:, 0], tokens[:, 0]).max() < 0.999


@pytest.mark.parametrize("name", ["test_resnet", "test_vit4", "vit_little_patch16_reg4_gap_256"])
def test_registers_are_no_class_token(name: str) -> None:
    """A network without a class token has none at any tap, whatever other tokens it has."""
    assert Timm(64, name=name).token_taps == ()


def test_normalisation_is_a_setting() -> None:
    """Without the setting mean and deviation are those of the network's configuration."""
    settings = timm.get_pretrained_cfg("test_vit")
    assert Timm(64, name="test_vit").mean.flatten().tolist() == pytest.approx(settings.mean)
    encoder = Timm(64, name="test_vit", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder.std.flatten().tolist() == pytest.approx([1, 2, 3])
    with pytest.raises(UserError, match=r"timm\.std"):
        Timm(64, name="test_vit", mean=(0.1, 0.2, 0.3))


def test_a_file_without_a_classifier_has_imagenets_normalisation() -> None:
    """timm's own weights have a classifier, those of self-supervised methods do not."""
    encoder = Timm(64, name="test_vit")
    assert encoder.settings_from_extra_keys(["head.weight", "head.bias"]) == {}
    for names in ([], ["head.0.weight"], ["mask_token", "decoder_pred.weight"]):
        assert encoder.settings_from_extra_keys(names) == {"mean": MEAN, "std": STD}


def test_a_network_without_attention_heads_refuses_the_setting() -> None:
    """The error is one line."""
    with pytest.raises(UserError, match=r"timm\.heads = 3"):
        Timm(64, name="test_resnet", heads=3)
