"""Small transformers, of the kinds that timm has."""

import timm
import torch
from torch import nn

SIZE = (3, 16, 16)
SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}
"""17 tokens of 32 channels, in three blocks."""

PLAIN = {
    "vit": ("vit_tiny_patch16_224", {}),
    "deit": ("deit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "layer scale": ("deit3_small_patch16_224", {}),
    "registers": ("vit_little_patch16_reg4_gap_256", {}),
    "norms of queries and keys": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "norm in front": ("vit_base_patch32_clip_224", {}),
    "no bias": ("vit_tiny_patch16_224", {"qkv_bias": False}),
    "mean of the tokens": ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
    "bias of positions": ("beit_base_patch16_224", {}),
    "rotary": ("vit_small_patch16_dinov3", {}),
    "rotary and gated": ("eva02_tiny_patch14_224", {}),
    "three layers and a gate": ("eva02_base_patch14_224", {}),
    "root mean square": ("aimv2_large_patch14_224", {}),
    "random depth": ("vit_tiny_patch16_224", {"drop_path_rate": 0.1, "proj_drop_rate": 0.1}),
}
"""Transformers whose every branch is known: timm's names, and what is changed beside the size."""


def small(kind: str, **changes: object) -> nn.Module:
    """A small transformer of a kind, in evaluation mode, whose branches all matter."""
    torch.manual_seed(0)
    name, arguments = PLAIN[kind]
    model = timm.create_model(name, num_classes=5, **(SMALL | arguments | changes))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "gamma" in name:  # of 1e-6, as timm begins with, would hide errors
            parameter.data.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("bias"):
            parameter.data.normal_(0, 0.2, generator=generator)
        elif "norm" in name:
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval()
