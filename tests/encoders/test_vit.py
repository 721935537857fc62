"""Tests of the vision transformer: single patches and views of other sizes."""

from __future__ import annotations

import torch

from sslbench.bench.data import Dataset
from sslbench.bench.encoders.vit import ViT


def test_patches_are_encoded_alone(tiny: Dataset) -> None:
    """Feature maps hold the patches row by row; some patches can be encoded without the others."""
    torch.manual_seed(0)
    encoder = ViT(32, width=16).eval()
    image = tiny.train.images[:1]
    with torch.no_grad():
        tokens = encoder.patch_tokens(image)
        assert tokens.shape == (1, 64, 16)
        whole = encoder.features(image, ["conv5"])["conv5"]
        torch.testing.assert_close(whole.flatten(2).transpose(1, 2), encoder.encode_tokens(tokens))
        other = image.clone()
        other[..., 4:8, 8:12] = 255 - other[..., 4:8, 8:12]  # the patch in row 1, column 2
        changed = (encoder.patch_tokens(other) != tokens).any(2).flatten().nonzero().flatten()
        assert changed.tolist() == [1 * 8 + 2]
        rest = [place for place in range(64) if place != 10]
        assert torch.equal(
            encoder.encode_tokens(encoder.patch_tokens(other)[:, rest]), encoder.encode_tokens(tokens[:, rest])
        )
        blank = encoder.patch_tokens(torch.zeros_like(image))  # these tokens differ only in their position
        assert len(blank[0].unique(dim=0)) == 64


def test_views_may_have_any_size() -> None:
    """Views larger and smaller than the size it was built for have feature maps of matching size."""
    encoder = ViT(32, width=16)
    for height, width in ((8, 8), (64, 64), (16, 24)):
        maps = encoder.features(torch.rand(2, 3, height, width), ["conv1"])["conv1"]
        assert maps.shape == (2, 16, height // 4, width // 4)
