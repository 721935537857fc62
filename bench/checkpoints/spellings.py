"""Other programs' names of an encoder's tensors, rewritten to those of torchvision and timm.

Some programs only name tensors differently; others also split or reshape them. Each layout is recognised by a name that
no other layout has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Rules = tuple[tuple[str, str], ...]  # regular expressions and their replacements

WRAPPERS = re.compile(r"\b(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod|module)\.")
"""Parts of names that FSDP, activation checkpointing, torch.compile and data parallelism add, at any depth."""

KUANGLIU_RESNET: Rules = ((r"\.shortcut\.", ".downsample."),)

HUGGING_FACE_RESNET: Rules = (
    (r"\bembedder\.embedder\.convolution\.", "conv1."),
    (r"\bembedder\.embedder\.normalization\.", "bn1."),
    (r"\bencoder\.stages\.0\.layers\.", "layer1."),
    (r"\bencoder\.stages\.1\.layers\.", "layer2."),
    (r"\bencoder\.stages\.2\.layers\.", "layer3."),
    (r"\bencoder\.stages\.3\.layers\.", "layer4."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.0\.convolution\.", ".conv1."),
    (r"\.layer\.0\.normalization\.", ".bn1."),
    (r"\.layer\.1\.convolution\.", ".conv2."),
    (r"\.layer\.1\.normalization\.", ".bn2."),
    (r"\.layer\.2\.convolution\.", ".conv3."),
    (r"\.layer\.2\.normalization\.", ".bn3."),
)

HUGGING_FACE_VIT: Rules = (  # of ViT, DeiT, DINOv2 and others derived from them
    (r"\bembeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"\bembeddings\.cls_token$", "cls_token"),
    (r"\bembeddings\.mask_token$", "mask_token"),
    (r"\bembeddings\.register_tokens$", "register_tokens"),
    (r"\bembeddings\.position_embeddings$", "pos_embed"),
    (r"\bencoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"(^|\.)layernorm\.", r"\1norm."),
)

HUGGING_FACE_CLIP: Rules = (
    (r"\bembeddings\.class_embedding$", "cls_token"),
    (r"\bembeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"\bembeddings\.position_embedding\.weight$", "pos_embed"),
    (r"\bpre_layrnorm\.", "norm_pre."),
    (r"\bencoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.q_proj\.", ".attn.query."),
    (r"\.self_attn\.k_proj\.", ".attn.key."),
    (r"\.self_attn\.v_proj\.", ".attn.value."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\bpost_layernorm\.", "norm."),
)

OPENAI_CLIP: Rules = (
    (r"\bvisual\.class_embedding$", "visual.cls_token"),
    (r"\bvisual\.positional_embedding$", "visual.pos_embed"),
    (r"\bvisual\.conv1\.", "visual.patch_embed.proj."),
    (r"\bvisual\.ln_pre\.", "visual.norm_pre."),
    (r"\bvisual\.ln_post\.", "visual.norm."),
    (r"\bvisual\.transformer\.resblocks\.", "visual.blocks."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)

DINOV2: Rules = ((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))

LAYOUTS: tuple[tuple[str, Rules], ...] = (
    (r"\.shortcut\.0\.weight$", KUANGLIU_RESNET),
    (r"\bembedder\.embedder\.convolution\.weight$", HUGGING_FACE_RESNET),
    (r"\bencoder\.layer\.0\.attention\.attention\.query\.weight$", HUGGING_FACE_VIT),
    (r"\bencoder\.layers\.0\.self_attn\.q_proj\.weight$", HUGGING_FACE_CLIP),
    (r"\bvisual\.transformer\.resblocks\.0\.attn\.in_proj_weight$", OPENAI_CLIP),
    (r"(^|\.)(register_tokens|blocks\.0\.mlp\.w12\.weight)$", DINOV2),
)
"""A pattern of a name that only files of a layout have, and the layout's rules."""


def spellings_of(tensors: State) -> Iterator[State]:
    """The tensors under their own names, without the names of wrappers, and under timm's or torchvision's names."""
    yield tensors
    plain = {WRAPPERS.sub("", name): value for name, value in tensors.items()}
    if len(plain) == len(tensors) and plain.keys() != tensors.keys():
        yield plain
    else:
        plain = dict(tensors)
    for pattern, rules in LAYOUTS:
        if any(re.search(pattern, name) for name in plain):
            yield rewrite(plain, rules)


def rewrite(tensors: State, rules: Rules) -> dict[str, Tensor]:
    """The tensors under the names that the rules give, with the parts of split tensors joined."""
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = with_batch(name, value)
    return add_register_tokens(join_attention(renamed))


def with_batch(name: str, value: Tensor) -> Tensor:
    """A class token (C,) and position embeddings (P, C) with the leading dimensions that timm gives them."""
    if name.endswith("cls_token") and value.ndim == 1:
        return value[None, None]
    return value[None] if name.endswith("pos_embed") and value.ndim == 2 else value


def join_attention(tensors: State) -> dict[str, Tensor]:
    """The tensors with queries, keys and values of each attention in one, as timm keeps them."""
    joined: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if ".attn.query." in name:
            parts = [tensors.get(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
            if all(part is not None for part in parts):
                joined[name.replace(".query.", ".qkv.")] = torch.cat(parts)  # type: ignore[arg-type]
                continue
        elif (".attn.key." in name or ".attn.value." in name) and re.sub(
            r"\.attn\.(key|value)\.", ".attn.query.", name
        ) in tensors:
            continue
        joined[name] = value
    return joined


def add_register_tokens(tensors: State) -> dict[str, Tensor]:
    """The tensors with register tokens as timm names them; the class token has its position embedding added."""
    result = dict(tensors)
    for name in tensors:
        if name.endswith("register_tokens"):
            prefix = name.removesuffix("register_tokens")
            positions, token = tensors.get(f"{prefix}pos_embed"), tensors.get(f"{prefix}cls_token")
            if positions is not None and token is not None:
                result[f"{prefix}reg_token"] = result.pop(name)
                result[f"{prefix}cls_token"] = token + positions[:, :1]
                result[f"{prefix}pos_embed"] = positions[:, 1:]
    return result
