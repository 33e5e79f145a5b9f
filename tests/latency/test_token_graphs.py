"""The graphs that branches of transformers are timed by."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from depthopt.core.operators import Attention, Linear, LowRank, Mlp
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.latency.graphs.entry import entry_graphs
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey
from tests.transformers import SIZE, small

TOKENS = (17, 1)
KEYS = [
    LatencyKey(Attention(32, 2, 16), TOKENS, residual=True),
    LatencyKey(
        Attention(32, 2, 8, 3, normed=True, scaled=True, biased=True), TOKENS, residual=True
    ),
    LatencyKey(Mlp(32, 64, "gelu"), TOKENS, residual=True),
    LatencyKey(Mlp(32, 64, "relu", scaled=True), TOKENS, residual=True),
    LatencyKey(Attention(32, 2, 16, rotary=1, interleaved=True), TOKENS, residual=True),
    LatencyKey(Attention(32, 2, 16, rotary=0), TOKENS, residual=True),
    LatencyKey(Mlp(32, 64, "silu", gated=1), TOKENS, residual=True),
    LatencyKey(Mlp(32, 64, "silu", gated=2, normed=True), TOKENS, residual=True),
    LatencyKey(Mlp(32, 64, "gelu", rms=True), TOKENS, residual=True),
    LatencyKey(Linear(32, 32), TOKENS),
    LatencyKey(Linear(32, 32), (1, 1)),
    LatencyKey(LowRank(32, 8), TOKENS),
]


WITHOUT_BIAS = {"rotary": 1, "three layers and a gate": 1, "root mean square": 5}
"""How many linear layers of a block have no bias, by the kind of transformer."""


def names(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_both_graphs_run_and_differ_by_the_copies(key: LatencyKey, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    graphs = entry_graphs(key, copies=5, batch=2)
    for model in (graphs.full, graphs.base):
        session = get_runtime(runtime).compile(model)
        assert all(np.isfinite(output).all() for output in session.run(random_inputs(session, 2)))
    full, base = names(graphs.full), names(graphs.base)
    assert not base - full
    one = names(entry_graphs(key, copies=6, batch=2).full) - full
    if not key.residual:
        one -= Counter({"Slice": 1})  # every copy is tapped
    assert full - base == Counter({name: 5 * count for name, count in one.items()})


def test_a_key_is_told_from_its_name() -> None:
    assert [str(key) for key in KEYS[:3]] == [
        "attn 32 h2 @17 +add",
        "attn 32 h2 w8 p3 q1 s1 b1 @17 +add",
        "mlp 32-64:gelu @17 +add",
    ]
    for key in KEYS:
        assert LatencyKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "kind",
    [
        *("vit", "norms of queries and keys", "bias of positions", "rotary"),
        *("rotary and gated", "three layers and a gate", "root mean square"),
    ],
)
def test_an_entry_is_what_the_exported_network_runs(kind: str, tmp_path) -> None:
    """Operator by operator: two networks whose depths differ by one."""
    one, two = (small(kind, depth=depth) for depth in (1, 2))
    found = []
    for i, model in enumerate((one, two)):
        path = tmp_path / f"{i}.onnx"
        export_onnx(model, path, images=torch.randn(2, *SIZE))
        found.append(names(path.read_bytes()))
    more = found[1] - found[0]
    chain = extract(one, SIZE)
    graphs = [
        entry_graphs(LatencyKey(block.operator, TOKENS, residual=True), copies=1)
        for block in chain.blocks[1:]
    ]
    timed = sum((names(each.full) - names(each.base) for each in graphs), Counter())
    arranging = ["Reshape", "Squeeze", "Slice", "Split", "Unsqueeze"]
    if kind in WITHOUT_BIAS:
        assert more["Add"] == timed["Add"] - WITHOUT_BIAS[kind]
        arranging.append("Add")
    assert {n: c for n, c in timed.items() if n not in arranging} == {
        n: c for n, c in more.items() if n not in arranging
    }
