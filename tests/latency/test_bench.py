"""How much of an entry is measured at once, and what is read beside it."""

from types import SimpleNamespace

import numpy as np
import pytest

from depthopt.core.operators import Convolution
from depthopt.latency.bench import (
    MIN_BALLAST,
    WARMING,
    Bench,
    ballast_bytes,
    copies_of,
    weight_bytes,
)
from depthopt.runtimes.onnxruntime import OnnxRuntime
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt.library import TENSORRT
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

NETWORK = 16 << 20


def test_fast_entries_are_many_and_slow_ones_few():
    fast = LatencyKey(Convolution(16, 16, (1, 1)), (4, 4))
    slow = LatencyKey(Convolution(64, 64, (5, 5), padding=(2, 2, 2, 2)), (112, 112))
    assert copies_of(fast, 1, NETWORK) > 16
    assert copies_of(slow, 8, NETWORK) == 2


@pytest.mark.parametrize("channels", [8, 64, 320, 640, 1280])
def test_copies_and_ballast_together_read_what_the_network_reads(channels):
    key = LatencyKey(Convolution(channels, channels, (1, 1)), (1, 1))
    own = copies_of(key, 1, NETWORK) * weight_bytes(key)
    assert own <= NETWORK
    together = own + ballast_bytes(own, NETWORK)
    assert NETWORK <= together <= NETWORK + max(NETWORK // 8, MIN_BALLAST)


def test_there_are_two_copies_even_of_what_outweighs_the_network():
    key = LatencyKey(Convolution(4096, 4096, (1, 1)), (1, 1))
    assert copies_of(key, 1, NETWORK) == 2
    assert ballast_bytes(2 * weight_bytes(key), NETWORK) == MIN_BALLAST


@pytest.mark.parametrize(("network_mib", "given", "footprint_mib"), [
    (9, None, 9), (9, 4.0, 4), (1, 4.0, 2), (60, None, 48),
])  # fmt: skip
def test_a_given_ballast_is_not_the_networks_size(network_mib, given, footprint_mib, monkeypatch):
    monkeypatch.setattr("depthopt.latency.bench.ready", lambda *_: None)
    runtime = SimpleNamespace(
        compile=lambda _: SimpleNamespace(input_shapes={}, run=print), is_accelerated=False
    )
    bench = Bench(runtime, bytes(network_mib << 20), batch=1, entry_seconds=0.1, ballast_mib=given)
    assert bench.footprint_bytes == footprint_mib << 20
    assert bench.warming == (0 if given is None else WARMING)


@pytest.mark.timed
@pytest.mark.parametrize(("kind", "least", "most"), [(OnnxRuntime, 16, 96), (TENSORRT, 1, 1)])
def test_runtimes_that_merge_what_lies_side_by_side_get_one_copy(kind, least, most):
    actual = get_runtime("onnxruntime")
    graphs = []

    def compiled(model):
        graphs.append(model)
        return actual.compile(model)

    runtime = SimpleNamespace(
        compile=compiled, is_accelerated=False, merges_siblings=kind.merges_siblings
    )
    key = LatencyKey(Convolution(16, 16, (1, 1)), (4, 4))
    bench = Bench(runtime, single_graph(key), batch=1, entry_seconds=0.05)
    for sweep in range(1, 4):
        group = bench.measure([key], sweeps=3)
        assert bool(bench._kept) == (sweep < 3), "graphs are kept for the sweeps to come"
    assert np.isfinite(group.ratios[key]).all()
    assert least <= max(graph.count(b"weights_") // 4 for graph in graphs) <= most + 2
