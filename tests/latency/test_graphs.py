"""The graphs whose difference is an entry."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity
from depthopt.errors import ModelError
from depthopt.latency.graphs.entry import ballast_graph, call_graph, entry_graphs
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

RELU = Activation("relu")
DENSE = Convolution(16, 32, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
KEYS = [
    LatencyKey(DENSE, (8, 8), Activation("relu6")),
    LatencyKey(Convolution(3, 24, (3, 3)), (8, 8)),
    LatencyKey(Convolution(24, 24, (1, 1)), (4, 4), Activation("silu"), residual=True),
    LatencyKey(Convolution(32, 32, (3, 3), padding=(1, 1, 1, 1), groups=32), (4, 4), RELU),
    LatencyKey(Identity(64), (4, 4), RELU, residual=True),
    LatencyKey(Identity(24), (4, 4), RELU),
    LatencyKey(Convolution(16, 3, (1, 1)), (4, 4), Activation("tanh"), residual=True),
    LatencyKey(AveragePooling(32, (2, 2), (2, 2)), (8, 8)),
]


def convolutions(model, spec):
    """Weights of the convolutions with the shape of ``spec``, in order."""
    graph = onnx.load_from_string(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    wanted = (spec.out_channels, spec.in_channels // spec.groups, *spec.kernel_size)
    weights = [node.input[1] for node in graph.node if node.op_type == "Conv"]
    return [name for name in weights if shapes[name] == wanted]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_both_graphs_run_and_give_finite_values(key):
    graphs = entry_graphs(key, copies=40, batch=2)
    runtime = get_runtime("onnxruntime")
    for model in (graphs.full, graphs.base):
        session = runtime.compile(model)
        assert all(np.isfinite(output).all() for output in session.run(random_inputs(session, 2)))


@dataclass(frozen=True)
class Unfolded:
    """An operator of another package, without weights: four channels become four pixels."""

    in_channels, out_channels, is_depthwise, parameters = 64, 16, False, 0

    def output_size(self, input_size):
        return input_size[0] * 2, input_size[1] * 2

    def add_to_graph(self, builder, x):
        return builder.node("DepthToSpace", x, blocksize=2)


def test_copies_without_weights_may_change_the_number_of_channels():
    graphs = entry_graphs(LatencyKey(Unfolded(), (4, 4)), copies=3)
    session = get_runtime("onnxruntime").compile(graphs.full)
    shapes = [output.shape for output in session.run(random_inputs(session, 1))]
    assert sorted(shapes) == [(1, 16, 1, 1), *[(1, 64, 1, 1)] * 3]


def test_copies_have_weights_of_their_own_and_the_base_has_none():
    graphs = entry_graphs(KEYS[0], copies=5)
    names = set(convolutions(graphs.full, DENSE))
    assert len(names) == 5
    tensors = onnx.load_from_string(graphs.full).graph.initializer
    assert len({tensor.raw_data for tensor in tensors if tensor.name in names}) == 5
    assert convolutions(graphs.base, DENSE) == []


@pytest.mark.parametrize(
    ("key", "operators"),
    [
        *((key, ("Conv", "FusedConv")) for key in KEYS[:4]),
        (KEYS[4], ("Relu",)),
        (KEYS[5], ("Relu",)),
        (KEYS[7], ("AveragePool",)),
    ],
    ids=str,
)
def test_optimisation_leaves_every_copy(key, operators, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    graphs = entry_graphs(key, copies=7)
    counts = []
    for model in (graphs.full, graphs.base):
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
        counts.append(Counter(node.op_type for node in nodes))
    full, base = counts
    assert sum(full[name] - base[name] for name in operators) == 7
    assert not base - full, "what stands around the copies is left as it is"


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        *((key, ("Convolution", "GroupConvolution")) for key in [*KEYS[:4], KEYS[6]]),
        (KEYS[4], ("Subgraph",)),
        (KEYS[5], ("Subgraph",)),
        (KEYS[7], ("Pooling",)),
    ],
    ids=str,
)
def test_openvino_runs_every_copy_whole(key, kinds):
    ov = pytest.importorskip("openvino")
    core, counts = ov.Core(), []
    graphs = entry_graphs(key, copies=7)
    for model in (graphs.full, graphs.base):
        compiled = core.compile_model(core.read_model(model), "CPU")
        shapes = [
            tuple(node.get_output_partial_shape(0).to_shape())
            for node in compiled.get_runtime_model().get_ops()
            if node.get_rt_info()["layerType"].astype(str) in kinds
        ]
        height, width = key.operator.output_size(key.input_size)
        counts.append(sum(shape[2:] == (height, width) for shape in shapes))
    assert counts[0] - counts[1] >= 7


def test_the_call_graph_is_next_to_nothing():
    session = get_runtime("onnxruntime").compile(call_graph())
    assert session.run(random_inputs(session, 1))[0].size == 16


def test_an_activation_without_an_onnx_form_is_refused_with_the_known():
    with pytest.raises(ModelError, match=r"activation 'snake' has no ONNX form here; known: elu"):
        single_graph(LatencyKey(DENSE, (8, 8), Activation("snake")))


def test_the_ballast_is_read_once():
    session = get_runtime("onnxruntime").compile(ballast_graph(4096))
    assert session.input_shapes == {"ballast": (1, 1024)}
    values = np.arange(1024, dtype=np.float32)[None]
    assert session.run({"ballast": values})[0] == 1023
