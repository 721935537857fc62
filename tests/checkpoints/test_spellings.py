"""Tests of foreign names: a file of each layout fills the encoder, which then computes what the source network does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from sslbench.bench.checkpoints.spellings import OPENAI_CLIP, rewrite
from sslbench.bench.checkpoints.store import load_encoder
from sslbench.bench.encoders import Encoder
from sslbench.bench.encoders._hooked import HookedEncoder

from .builders import thin_encoder, thin_resnet, thin_resnet_state
from .layouts import State, under

SHAPE: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 0,
    "mlp_ratio": 2,
}


def small_vit(seed: int, **options: Any) -> VisionTransformer:
    """A vision transformer with weights that differ in every tensor."""
    torch.manual_seed(seed)
    network: Any = VisionTransformer(**SHAPE | options)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return network.eval()  # type: ignore[no-any-return]


def encoder_around(network: nn.Module) -> HookedEncoder:
    """An encoder whose tensors have the network's names."""
    return HookedEncoder(network, 32, mean=(0.5,) * 3, std=(0.25,) * 3).eval()


def renamed(state: State, *rules: tuple[str, str]) -> State:
    """The state with regular expressions applied to its names."""
    result = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def split_attention(state: State, template: str) -> State:
    """The state with each ``qkv`` as three tensors named after the template, which has the name of one of the three."""
    result: State = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for part, one in zip(("query", "key", "value"), value.chunk(3), strict=True):
                result[name.replace(".attn.qkv.", template.format(part=part))] = one.clone()
        else:
            result[name] = value
    return result


def hugging_face_vit(state: State) -> State:
    """ViT by Hugging Face."""
    state = renamed(
        split_attention(state, ".attention.attention.{part}."),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^blocks\.(\d)\.", r"encoder.layer.\1."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"^norm\.", "layernorm."),
    )
    return state | {"pooler.dense.weight": torch.ones(16, 16)}


def hugging_face_classifier(state: State) -> State:
    """The same with a classifier."""
    return under("vit.", hugging_face_vit(state)) | {"classifier.weight": torch.ones(3, 16)}


def hugging_face_dinov2(state: State) -> State:
    """DINOv2 by Hugging Face."""
    state = renamed(
        split_attention(state, ".attention.attention.{part}."),
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
        (r"^pos_embed$", "embeddings.position_embeddings"),
        (r"^cls_token$", "embeddings.cls_token"),
        (r"^blocks\.(\d)\.", r"encoder.layer.\1."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
        (r"^norm\.", "layernorm."),
    )
    return state | {"embeddings.mask_token": torch.ones(1, 16)}


def hugging_face_clip(state: State) -> State:
    """CLIP's image and text networks by Hugging Face."""
    state = renamed(
        split_attention(state, ".self_attn.{part}."),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^cls_token$", "embeddings.class_embedding"),
        (r"^blocks\.(\d)\.", r"encoder.layers.\1."),
        (r"\.query\.", ".q_proj."),
        (r"\.key\.", ".k_proj."),
        (r"\.value\.", ".v_proj."),
        (r"\.attn\.proj\.", ".self_attn.out_proj."),
        (r"\.norm(\d)\.", r".layer_norm\1."),
        (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."),
    )
    state["embeddings.class_embedding"] = state["embeddings.class_embedding"].flatten()
    state["embeddings.position_embedding.weight"] = state["embeddings.position_embedding.weight"][0]
    text = {"text_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(4, 4), "logit_scale": torch.ones(())}
    return under("vision_model.", state) | text


def wrapped_by_fsdp(state: State) -> State:
    """FSDP around the network and each of its blocks, compiled, in a data-parallel wrapper."""
    return renamed(
        state,
        (r"^blocks\.(\d)\.", r"blocks.\1._fsdp_wrapped_module._checkpoint_wrapped_module."),
        (r"^", "module._orig_mod._fsdp_wrapped_module."),
    )


LAYOUTS: dict[str, tuple[Callable[[State], State], dict[str, Any]]] = {
    "vit": (hugging_face_vit, {}),
    "vit classifier": (hugging_face_classifier, {}),
    "dinov2": (hugging_face_dinov2, {"init_values": 1.0}),
    "clip": (hugging_face_clip, {"pre_norm": True}),
    "fsdp": (wrapped_by_fsdp, {}),
}


def assert_same(network: nn.Module, encoder: HookedEncoder) -> None:
    """The network and the encoder's compute the same."""
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.network(x), network(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_transformer_of_any_layout_computes_the_same(name: str, tmp_path: Path) -> None:
    """Queries, keys and values are joined, tokens reshaped, heads and other networks left out."""
    layout, options = LAYOUTS[name]
    network, encoder = small_vit(0, **options), encoder_around(small_vit(1, **options))
    save_file(
        {key: value.contiguous() for key, value in layout(network.state_dict()).items()}, tmp_path / "a.safetensors"
    )
    load_encoder(tmp_path / "a.safetensors", encoder)
    assert_same(network, encoder)


def test_register_tokens_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    """DINOv2 with registers adds the class token's position embedding to the token itself."""
    options = {"init_values": 1.0, "reg_tokens": 4, "no_embed_class": True}
    state = small_vit(0, init_values=1.0).state_dict()
    state |= {"register_tokens": torch.randn(1, 4, 16), "mask_token": torch.zeros(1, 16)}
    torch.save({"teacher": under("backbone.", state)}, tmp_path / "a.pth")
    network, encoder = small_vit(2, **options), encoder_around(small_vit(1, **options))
    network.load_state_dict(checkpoint_filter_fn(dict(state), network))
    load_encoder(tmp_path / "a.pth", encoder)
    assert_same(network, encoder)


def test_openai_names_are_read_as_timm_reads_them() -> None:
    """CLIP's own names become those that timm's converter gives."""
    state = {
        "visual.class_embedding": torch.rand(16),
        "visual.positional_embedding": torch.rand(17, 16),
        "visual.conv1.weight": torch.rand(16, 3, 8, 8),
        "visual.ln_pre.weight": torch.rand(16),
        "visual.ln_post.bias": torch.rand(16),
        "visual.transformer.resblocks.0.attn.in_proj_weight": torch.rand(48, 16),
        "visual.transformer.resblocks.0.attn.out_proj.bias": torch.rand(16),
        "visual.transformer.resblocks.0.ln_2.weight": torch.rand(16),
        "visual.transformer.resblocks.1.mlp.c_fc.weight": torch.rand(32, 16),
        "visual.transformer.resblocks.1.mlp.c_proj.bias": torch.rand(16),
    }
    expected: dict[str, Tensor] = checkpoint_filter_fn(dict(state), small_vit(0, pre_norm=True))
    found = rewrite(state, OPENAI_CLIP)
    assert found.keys() == {f"visual.{name}" for name in expected}
    assert all(torch.equal(found[f"visual.{name}"], value) for name, value in expected.items())


def hugging_face_resnet(state: State) -> State:
    """ResNet by Hugging Face."""
    rules = [(r"\.downsample\.0\.", ".shortcut.convolution."), (r"\.downsample\.1\.", ".shortcut.normalization.")]
    for n in (1, 2, 3):
        rules += [(rf"(\d)\.conv{n}\.", rf"\1.layer.{n - 1}.convolution.")]
        rules += [(rf"(\d)\.bn{n}\.", rf"\1.layer.{n - 1}.normalization.")]
    rules += [(rf"^layer{n}\.", rf"resnet.encoder.stages.{n - 1}.layers.") for n in (1, 2, 3, 4)]
    rules += [(r"^conv1\.", "resnet.embedder.embedder.convolution.")]
    rules += [(r"^bn1\.", "resnet.embedder.embedder.normalization.")]
    return renamed(state, *rules) | {"classifier.1.weight": torch.ones(3, 8)}


def kuangliu_resnet(state: State) -> State:
    """ResNets of kuangliu/pytorch-cifar, which SupContrast uses."""
    shortcuts = renamed(state, (r"\.downsample\.", ".shortcut."))
    return under("module.encoder.", shortcuts) | {"module.head.0.weight": torch.ones(3, 8)}


@pytest.mark.parametrize("layout", [hugging_face_resnet, kuangliu_resnet, wrapped_by_fsdp])
def test_a_residual_network_of_any_layout_computes_the_same(layout: Callable[[State], State], tmp_path: Path) -> None:
    """After loading, the last group of blocks computes what torchvision's network does."""
    network, encoder = thin_resnet(), thin_encoder()
    torch.save(layout(thin_resnet_state()), tmp_path / "a.pth")
    load_encoder(tmp_path / "a.pth", encoder)
    assert_equal_conv5(network, encoder)


def assert_equal_conv5(network: Any, encoder: Encoder) -> None:
    """The encoder's conv5 is what torchvision's network computes."""
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        y = network.maxpool(network.relu(network.bn1(network.conv1((x - encoder.mean) / encoder.std))))
        for group in (network.layer1, network.layer2, network.layer3, network.layer4):
            y = group(y)
        torch.testing.assert_close(encoder.features(x, ["conv5"])["conv5"], y, atol=1e-4, rtol=1e-4)
