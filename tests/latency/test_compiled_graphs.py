"""What TensorRT makes of an entry's graphs: they differ by the copies, one kernel each."""

import re
from collections import Counter

import pytest

from depthopt.latency.graphs.entry import entry_graphs
from depthopt.runtimes.tensorrt.ahead import build_ahead
from depthopt.tables.latency import LatencyKey

pytest.importorskip("tensorrt_rtx")

KERNELS = {
    "conv 32-32 k3x3 p1,1,1,1 @8x8 +add relu6": ("correlation", "add clip conv"),
    "conv 32-64 k3x3 s2x2 p1,1,1,1 @8x8 relu6": ("correlation", "clip conv"),
    "conv 24-24 k3x3 p1,1,1,1 g24 @8x8 relu": ("correlation", "conv relu"),
    "conv 32-64 k1x1 @8x8": ("correlation", "conv"),
    "avgpool 32-32 k2x2 s2x2 g32 @8x8": ("avgpool", "averagepool"),
    "identity 32 @8x8 relu": ("kgen", "relu"),
}
"""The kernel that an entry is to be: its kind, and the ONNX operators that it holds."""

MORE_KERNELS = {
    "conv 3-32 k3x3 s2x2 p1,1,1,1 @16x16 relu6": ("correlation", "clip conv"),
    "identity 32 @8x8 +add relu": ("kgen", "add relu"),
}
"""The same of what is looked at only in one way."""


def _counts(model: bytes, dtype: str) -> Counter[tuple[str, str]]:
    """How many layers there are, by kind and by the operators that they hold.

    Of a kernel that TensorRT wrote itself the name tells what it holds: its metadata may name,
    for a cast or a padding, any of the nodes behind it.
    """
    counts = Counter()
    for layer in build_ahead(model, targets=["sm89"], dtype=dtype).layers:
        operators = sorted({re.sub(r"_\d+$", "", node) for node in layer.nodes})
        if written := re.fullmatch(r"__myl_(\w+)_myl\d+_\d+", layer.name):
            operators = re.findall(r"[A-Z][a-z]*", written[1])
        counts[layer.kind, " ".join(operators).lower()] += 1
    return counts


def _differ_by_the_copies(key: str, copies: int, dtype: str, kernel: tuple[str, str]) -> None:
    graphs = entry_graphs(LatencyKey.parse(key), copies=copies)
    full, base = (_counts(model, dtype) for model in (graphs.full, graphs.base))
    assert full - base == {kernel: copies}
    assert not base - full


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("key", KERNELS)
def test_the_full_graph_has_one_kernel_a_copy_more_than_the_base(key, copies, dtype):
    _differ_by_the_copies(key, copies, dtype, KERNELS[key])


@pytest.mark.parametrize("key", MORE_KERNELS)
def test_so_it_is_behind_images_and_where_only_an_add_is_left(key):
    _differ_by_the_copies(key, 2, "float16", MORE_KERNELS[key])
