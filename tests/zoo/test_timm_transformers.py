"""timm's transformers at the size that they were made for: every night, as each takes seconds."""

import pytest
import timm
import torch
from torch import Tensor, nn

from depthopt.core.operators import reads_tokens
from depthopt.extraction.coverage import reducible_share
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of, random_plan

pytestmark = pytest.mark.nightly

WHOLE = (
    "vit_tiny_patch16_224",
    "vit_base_patch32_clip_224",
    "vit_base_patch16_siglip_224",
    "vit_little_patch16_reg4_gap_256",
    "vit_small_patch14_dinov2",
    "vit_small_r26_s32_224",
    "vit_tiny_r_s16_p8_224",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "beit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "eva02_base_patch14_224",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_rope_reg1_gap_256",
)
"""Those whose every branch is known."""

IN_PART = (
    "cait_xxs24_224",
    "mixer_s16_224",
    "vit_relpos_small_patch16_224",
    "swin_tiny_patch4_window7_224",
    "xcit_nano_12_p16_224",
)
"""Those of which some stay as they are."""


def made(name: str) -> tuple[nn.Module, tuple[int, ...], Tensor]:
    torch.manual_seed(0)
    model = timm.create_model(name).double().eval()
    size = model.default_cfg["input_size"]
    return model, size, torch.randn(2, *size, dtype=torch.float64)


@pytest.mark.parametrize("name", [*WHOLE, *IN_PART])
@torch.no_grad()
def test_all_kept_is_the_original(name: str) -> None:
    model, size, images = made(name)
    chain = extract(model, size)
    got = fuse(apply(model, chain, plan_of(chain)))
    torch.testing.assert_close(got(images), model(images), rtol=1e-9, atol=1e-9)
    branches = [block for block in chain.blocks if reads_tokens(block.operator)]
    is_hybrid = "_r26" in name or "_r_" in name  # convolutions in front stay as they are
    share = 0.3 if is_hybrid else 0.95
    assert name not in WHOLE or (branches and reducible_share(chain) > share)
    assert name in WHOLE or chain.unused


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_drops_are_the_network_with_those_outputs_zeroed(name: str) -> None:
    model, size, images = made(name)
    chain = extract(model, size)
    drops = candidates(chain, kinds=("drop",))
    plan = random_plan(
        chain, [c for c in drops if not c.replaces or reads_tokens_at(chain, c.start)], 0
    )
    got = fuse(apply(model, chain, plan))
    for choice in plan.replaced:
        path = chain.blocks[choice.start].name
        model.get_submodule(path).register_forward_hook(lambda _m, _i, out: 0 * out)
    assert plan.replaced
    torch.testing.assert_close(got(images), model(images), rtol=1e-9, atol=1e-9)


def reads_tokens_at(chain, position: int) -> bool:
    return reads_tokens(chain.blocks[position].operator)
