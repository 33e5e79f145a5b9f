"""The branches of transformers as blocks."""

import math
from collections import Counter

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from depthopt.core.chain import Skip
from depthopt.core.operators import Attention, Mlp
from depthopt.errors import ModelError
from depthopt.extraction.coverage import reducible_share
from depthopt.extraction.extract import extract
from tests.flops import macs
from tests.transformers import PLAIN, SIZE, small


@pytest.mark.parametrize("kind", PLAIN)
def test_each_branch_is_a_block_with_a_skip_over_it(kind: str) -> None:
    chain = extract(small(kind), SIZE)
    patches, *blocks = chain.blocks
    assert patches.name == "patch_embed.proj"
    assert [type(block.operator) for block in blocks] == [Attention, Mlp] * 3
    assert [block.name for block in blocks[:2]] == ["blocks.0.attn", "blocks.0.mlp"]
    for i, (block, skip) in enumerate(zip(blocks, chain.skips, strict=True), start=1):
        assert skip == Skip(i, i + 1, block.preactivation, block.input)
        assert (block.layout.in_channels, block.layout.input_size[1]) == (32, 1)
    assert [(barrier.position, barrier.region) for barrier in chain.barriers] == [(1, None)]
    assert chain.unused == ()
    assert all(chain.why_illegal(start, end) is None for start, end in ((1, 2), (2, 5), (1, 7)))


@pytest.mark.parametrize(
    ("kind", "attention", "mlp"),
    [
        ("vit", "attn 32 h2", "mlp 32-128:gelu"),
        ("layer scale", "attn 32 h2 s1", "mlp 32-128:gelu s1"),
        ("norms of queries and keys", "attn 32 h2 q1", "mlp 32-128:gelu"),
        ("bias of positions", "attn 32 h2 s1 b1", "mlp 32-128:gelu s1"),
        ("rotary", "attn 32 h2 s1 r5", "mlp 32-128:gelu s1"),
        ("rotary and gated", "attn 32 h2 r1 i1", "mlp 32-85:silu g1"),
        ("root mean square", "attn 32 h2 e1", "mlp 32-88:silu g2 e1"),
        ("three layers and a gate", "attn 32 h2 p3 r1 i1", "mlp 32-85:silu g2 n1"),
    ],
)
def test_an_operator_says_what_decides_latency(kind: str, attention: str, mlp: str) -> None:
    chain = extract(small(kind), SIZE)
    assert [str(block.operator) for block in chain.blocks[1:3]] == [attention, mlp]


@pytest.mark.parametrize(
    "kind",
    ["vit", "bias of positions", "rotary and gated", "three layers and a gate", "written out"],
)
def test_multiply_accumulates_are_those_that_torch_counts(kind: str) -> None:
    model = small("vit" if kind == "written out" else kind)
    for block in model.blocks if kind == "written out" else ():
        block.attn.fused_attn = False
    chain = extract(model, SIZE)
    head = 32 * 5
    own = sum(block.macs for block in chain.blocks)
    with sdpa_kernel(SDPBackend.MATH):  # torch does not count the others of a CPU
        counted = macs(lambda: model(torch.zeros(1, *SIZE))).total()
    between = sum(barrier.macs for barrier in chain.barriers)
    assert chain.conv_macs + chain.other_macs == own + between + head == counted
    assert between == 0 or kind == "written out"
    if between:
        return
    assert reducible_share(chain) == pytest.approx((own - chain.blocks[0].macs) / (own + head))


def test_linear_layers_between_blocks_count_where_they_are_replaced() -> None:
    chain = extract(timm.create_model("convnext_atto", depths=(1, 1, 1, 1)), (3, 64, 64))
    linear = sum(barrier.macs for barrier in chain.barriers)
    whole = chain.conv_macs + chain.other_macs
    assert 0 < chain.other_macs - linear == chain.blocks[-1].layout.out_channels * 1000
    blocks = sum(block.macs for block in chain.blocks)
    assert reducible_share(chain) == pytest.approx((blocks + linear) / whole)


@pytest.mark.parametrize("kind", ["vit", "layer scale", "norms of queries and keys"])
def test_parameters_are_those_of_the_modules(kind: str) -> None:
    model = small(kind)
    chain = extract(model, SIZE)
    block = model.blocks[0]
    scale = 32 if kind == "layer scale" else 0
    for i, parts in ((1, (block.norm1, block.attn)), (2, (block.norm2, block.mlp))):
        own = sum(p.numel() for part in parts for p in part.parameters())
        assert chain.blocks[i].operator.parameters == own + scale


class Block(nn.Module):
    """A branch of a kind that is not known, between two that are."""

    def __init__(self, changed: str) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
            for _ in range(3)
        )
        self.changed = changed
        if changed == "no norm":
            self.mlps[1] = self.mlps[1][1:]
        elif changed == "shared":
            self.mlps[1][3] = self.mlps[0][3]
        elif changed == "three layers":
            self.mlps[1].append(nn.Linear(8, 8))
        elif changed == "pooled":
            self.mlps[1].insert(1, nn.AvgPool1d(1))
        elif changed == "hooked":
            self.mlps[1][1].register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for i, mlp in enumerate(self.mlps):
            if (i, self.changed) == (1, "read inside"):
                hidden = mlp[1](mlp[0](x))
                x = x + mlp[3](mlp[2](hidden) + hidden)
                continue
            x = x + (mlp(x) * x.mean() if (i, self.changed) == (1, "scaled") else mlp(x))
        return x.mean(1)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("no norm", "does not begin with a layer norm"),
        ("shared", "holds mlps.0.3, which is called 2 times with shared weights"),
        ("three layers", "neither attention nor an MLP: norm, linear, activation, linear, linear"),
        ("pooled", "has a AvgPool1d inside"),
        ("hooked", "holds mlps.1.1, which carries a forward hook"),
        ("scaled", "does not begin with a layer norm"),
    ],
)
def test_what_is_not_known_stays_whole_with_a_reason(changed: str, reason: str) -> None:
    torch.manual_seed(0)
    chain = extract(Block(changed), (3, 8, 8))
    (unused, *more) = chain.unused
    assert reason in unused.reason
    assert len(more) == (changed == "shared"), "of either branch that shares"
    assert len(chain.blocks) == 3 - len(more)
    assert [barrier.position for barrier in chain.barriers] == [1, 2][: 2 - len(more)]
    assert [skip.target - skip.source for skip in chain.skips] == [1] * (2 - len(more))


def test_an_mlp_with_an_add_inside_is_not_one() -> None:
    torch.manual_seed(0)
    chain = extract(Block("read inside"), (3, 8, 8))
    assert len(chain.blocks) == 3
    reasons = [unused.reason for unused in chain.unused]
    assert reasons == [
        "adds a branch that does not begin with a layer norm",
        "adds a branch that has a add inside (add_1)",
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_relpos_small_patch16_224", "adds a branch that"),
        ("cait_xxs24_224", "adds a branch that has a"),
        ("mixer_s16_224", "nor an MLP: norm, reshape, linear, activation, linear, reshape"),
    ],
)
def test_attention_of_other_kinds_is_named(name: str, reason: str) -> None:
    """Its MLPs are blocks all the same."""
    changes = {} if "mixer" in name else {"depth": 2}
    model = timm.create_model(name, num_classes=5, **changes).eval()
    chain = extract(model, model.default_cfg["input_size"])
    kinds = Counter(type(block.operator) for block in chain.blocks)
    assert kinds[Attention] == 0
    assert kinds[Mlp] >= 2
    assert any(reason in unused.reason for unused in chain.unused)


def test_constants_without_values_are_the_same_in_training() -> None:
    model = small("bias of positions")
    assert extract(model.to("meta"), SIZE) == extract(small("bias of positions"), SIZE)


def test_another_size_than_the_embedding_s_is_refused() -> None:
    with pytest.raises(ModelError, match=r"refuses an input of 3x32x32: Input height \(32\)"):
        extract(small("vit"), (3, 32, 32))


def test_attention_that_is_written_out_is_named() -> None:
    model = small("vit")
    for block in model.blocks:
        block.attn.fused_attn = False
    chain = extract(model, SIZE)
    assert [unused.reason for unused in chain.unused] == [
        f"adds a branch that has a {what} inside ({name})"
        for what, name in (("matmul", "matmul"), ("matmul", "matmul_2"), ("matmul", "matmul_4"))
    ]
    assert [type(block.operator) for block in chain.blocks[1:]] == [Mlp] * 3


def test_heads_that_are_narrower_than_the_tokens() -> None:
    operator = Attention(32, 2, 8)
    assert str(operator) == "attn 32 h2 w8"
    assert operator.macs((17, 1)) == 17 * 4 * 32 * 16 + 2 * 17**2 * 16
    assert math.isclose(operator.attention_macs((17, 1)), 2 * 17**2 * 16)


def test_a_transformer_whose_patches_are_a_linear_layer() -> None:
    """Nor does a mask that is None, or something that nothing reads, hide a branch."""
    model = timm.create_model(
        "naflexvit_base_patch16_gap", embed_dim=32, depth=2, num_heads=2, num_classes=5
    )
    assert not any(isinstance(module, nn.Conv2d) for module in model.modules())
    chain = extract(model.eval(), (3, 64, 64))
    attention, mlp = "attn 32 h2 s1", "mlp 32-128:gelu s1"
    assert [str(block.operator) for block in chain.blocks] == [attention, mlp] * 2
    assert all(block.hidden for block in chain.blocks)


def test_what_is_hidden_in_a_module_is_said_of_linear_layers_too() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) if x.sum() > 0 else -self.inner(x)

    with pytest.raises(ModelError, match="0: Hidden hides 1 linear layer from tracing"):
        extract(nn.Sequential(Hidden(), nn.ReLU()), (4, 8))
    with pytest.raises(ModelError, match="no attention or MLP that is added to the tokens"):
        extract(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)), (4, 8))
