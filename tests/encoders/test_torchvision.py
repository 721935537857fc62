"""Networks of torchvision: the last tap is after the network's final norm, and nothing of its trunk is left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from sslbench.bench.encoders import class_token_of
from sslbench.bench.encoders.torchvision import Torchvision

HEADS = {"convnext_tiny": 2, "maxvit_t": 3}  # layers of the classifier that belong to the features


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_b_16", 32),
        ("swin_t", 64),
        ("convnext_tiny", 32),
        ("maxvit_t", 224),
        ("densenet121", 32),
        ("googlenet", 64),
        ("regnet_y_400mf", 32),
    ],
)
@torch.no_grad()
def test_the_embedding_is_what_the_classifier_gets(name: str, size: int) -> None:
    """With the same weights, torchvision's network without its classifier gives our embedding, or our class token."""
    torch.manual_seed(0)
    encoder = Torchvision(size, name=name).eval()
    for value in encoder.parameters():
        if value.ndim == 1:
            nn.init.normal_(value, 1, 0.3)
    options = {"image_size": size} if name == "vit_b_16" else {"init_weights": False} if name == "googlenet" else {}
    whole = get_model(name, weights=None, **options).eval()
    whole.load_state_dict(encoder.network.state_dict(), strict=False)
    for head in ("fc", "classifier", "heads", "head"):
        if hasattr(whole, head):
            layers = list(getattr(whole, head).children())[: HEADS.get(name, 0)]
            setattr(whole, head, nn.Sequential(*layers))
    images = torch.rand(2, 3, size, size)
    wanted, found = whole(encoder.prepare_images(images)), encoder(images)
    assert bool(encoder.token_taps) == (name == "vit_b_16")
    if encoder.token_taps:
        assert encoder.token_taps == encoder.taps
        token = class_token_of(encoder.taps[-1])
        found = encoder.features(images, [token])[token].flatten(1)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_a_regnet_can_be_described_without_memory() -> None:
    """On the meta device too, though torchvision computes its widths with tensors."""
    with torch.device("meta"):
        encoder = Torchvision(32, name="regnet_y_400mf")
    assert {value.device.type for value in encoder.parameters()} == {"meta"}
