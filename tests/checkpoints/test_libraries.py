"""Tests of the networks of timm and torchvision: their own configuration says which input they expect."""

from __future__ import annotations

from sslbench.bench.images.input_spec import InputSpec

from .builders import resolve_words


def test_libraries_define_the_input_of_their_networks() -> None:
    """Size, crop, resampling and normalisation come from the library's own configuration."""
    vit, net = resolve_words("timm/vit_small_patch14_dinov2.lvd142m@random", "torchvision/shufflenet_v2_x0_5")
    assert vit.input_spec == InputSpec(size=518, crop=1.0, resampling="bicubic")
    assert (vit.kind, vit.encoder, vit.published) == ("untrained", "timm/vit_small_patch14_dinov2", {})
    assert net.input_spec == InputSpec()
    assert net.url == "torchvision:shufflenet_v2_x0_5.IMAGENET1K_V1"
