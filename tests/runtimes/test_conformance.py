"""What every runtime must do, on models small enough to check against torch."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch.nn import functional as F

from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity
from depthopt.core.operators.activation import PLAIN
from depthopt.errors import ModelError, RuntimeUnavailable
from depthopt.graph.activations import make_activation
from depthopt.latency.graphs.entry import call_graph, entry_graphs
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime, runtime_names
from depthopt.runtimes.tensorrt.library import LIBRARIES
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

RELU = Activation("relu")
LEAKY = (Activation("leaky_relu", 0.2), Activation("leaky_relu", 0.0))
ACTIVATIONS = (None, *map(Activation, sorted(PLAIN)), *LEAKY)
SAME = Convolution(16, 16, (3, 3), padding=(1, 1, 1, 1))

KEYS = (
    *(LatencyKey(SAME, (6, 5), act, residual) for residual in (False, True) for act in ACTIVATIONS),
    *(
        LatencyKey(operator, (9, 8))
        for operator in (
            Convolution(1, 24, (5, 5), stride=(4, 4), padding=(2, 2, 2, 2)),
            Convolution(3, 32, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1)),
            Convolution(24, 144, (1, 1)),
            Convolution(32, 32, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2), groups=32),
            Convolution(16, 8, (3, 1), padding=(0, 0, 1, 2), groups=4),
            Convolution(20, 3, (1, 3), padding=(3, 0, 0, 0)),
            AveragePooling(16, (2, 2), (2, 2)),
            AveragePooling(24, (3, 3), (2, 2), padding=(1, 1, 1, 1)),
            AveragePooling(3, (3, 2), (1, 1), padding=(1, 0, 0, 1)),
        )
    ),
    LatencyKey(AveragePooling(16, (2, 2), (2, 2)), (8, 6), RELU, residual=True),
    LatencyKey(Identity(24), (4, 4), residual=True),
    LatencyKey(Identity(24), (4, 4), Activation("relu6"), residual=True),
    LatencyKey(Identity(16), (4, 4), Activation("hardswish")),
)

CASES = [
    *(
        pytest.param((name, "cpu"), marks=[pytest.mark.slow] if name == "torch_compiled" else [])
        for name in runtime_names()
        if name not in LIBRARIES
    ),
    *(pytest.param((name, "cuda"), marks=pytest.mark.gpu) for name in ("onnxruntime", "torch")),
    *(pytest.param((name, "cuda"), marks=pytest.mark.tensorrt) for name in LIBRARIES),
]


@pytest.fixture(params=CASES, ids="-".join)
def runtime(request):
    name, device = request.param
    if name == "openvino":
        pytest.importorskip("openvino")
    try:
        return get_runtime(name, device=device)
    except RuntimeUnavailable as reason:
        if device == "cpu":
            raise
        pytest.skip(str(reason))


def reference(model, key, inputs):
    """The entry in torch, with the weights that the graph holds."""
    y = torch.from_numpy(inputs["x"])
    match key.operator:
        case Convolution() as conv:
            weight, bias = (
                torch.from_numpy(numpy_helper.to_array(tensor).copy())
                for tensor in onnx.load_from_string(model).graph.initializer
                if tensor.name.startswith("weights")
            )
            options = {"stride": conv.stride, "dilation": conv.dilation, "groups": conv.groups}
            y = F.conv2d(F.pad(y, conv.padding), weight, bias, **options)
        case AveragePooling() as pooling:
            y = F.avg_pool2d(F.pad(y, pooling.padding), pooling.kernel_size, pooling.stride)
        case Identity():
            pass
    if key.residual:
        y = y + torch.from_numpy(inputs["residual"])
    return (y if key.activation is None else make_activation(key.activation)(y)).numpy()


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_operator_equals_torch(runtime, key):
    model = single_graph(key, batch=2)
    session = runtime.compile(model)
    inputs = random_inputs(session, 2)
    (output,) = session.run(inputs)
    np.testing.assert_allclose(output, reference(model, key, inputs), rtol=1e-4, atol=1e-5)


def test_no_operator_and_no_activation_is_left_out():
    assert {type(key.operator) for key in KEYS} == {AveragePooling, Convolution, Identity}
    assert {key.activation.name for key in KEYS if key.activation} == PLAIN


def test_inputs_are_of_the_models_types(runtime):
    """``a + b`` of whole numbers beside ``x`` of others, with two outputs."""
    value = onnx.helper.make_tensor_value_info
    types = {"a": onnx.TensorProto.INT64, "b": onnx.TensorProto.INT64, "x": onnx.TensorProto.FLOAT}
    nodes = [
        onnx.helper.make_node("Add", ["a", "b"], ["sum"]),
        onnx.helper.make_node("Relu", ["x"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [value(name, kind, ["batch", 3]) for name, kind in types.items()],
        [value("sum", types["a"], ["batch", 3]), value("y", types["x"], ["batch", 3])],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = runtime.compile(model.SerializeToString())
    assert session.input_dtypes == {"a": "int64", "b": "int64", "x": "float32"}
    inputs = random_inputs(session, 2)
    assert {name: str(array.dtype) for name, array in inputs.items()} == session.input_dtypes
    assert set(inputs["a"].ravel().tolist()) <= {0, 1}
    found, y = session.run(inputs)
    np.testing.assert_array_equal(found, inputs["a"] + inputs["b"])
    np.testing.assert_array_equal(y, np.maximum(inputs["x"], 0))


def test_a_model_may_come_as_a_file(runtime, tmp_path):
    key = LatencyKey(Convolution(4, 8, (1, 1)), (3, 3))
    path = tmp_path / "model.onnx"
    path.write_bytes(single_graph(key))
    session = runtime.compile(path)
    assert session.input_shapes == {"x": (1, 4, 3, 3)}
    assert session.run(random_inputs(session, 1))[0].shape == (1, 8, 3, 3)


def test_a_free_batch_dimension_is_filled(runtime):
    info = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "free",
        [helper.make_tensor_value_info("x", info, ["batch", 3])],
        [helper.make_tensor_value_info("y", info, ["batch", 3])],
    )
    opset = helper.make_opsetid("", 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = runtime.compile(model.SerializeToString())
    assert session.input_shapes == {"x": (None, 3)}
    assert session.run(random_inputs(session, 5))[0].shape == (5, 3)


def test_what_is_no_model_is_refused_in_one_line(runtime, tmp_path):
    with pytest.raises(ModelError, match=f"{runtime.name}.*cannot run the model") as refusal:
        runtime.compile(b"not a model")
    assert "\n" not in str(refusal.value)
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        runtime.compile(tmp_path / "absent.onnx")


def test_an_unsupported_operator_is_named(runtime):
    model = onnx.load_from_string(call_graph())
    node = model.graph.node[0]
    node.op_type, node.domain = "Abacus", "nowhere"
    model.opset_import.add(domain="nowhere", version=1)
    with pytest.raises(ModelError, match=r"cannot run the model.*Abacus") as refusal:
        runtime.compile(model.SerializeToString())
    assert "\n" not in str(refusal.value)


def test_inputs_that_do_not_fit_are_refused(runtime):
    session = runtime.compile(single_graph(LatencyKey(Convolution(4, 8, (1, 1)), (3, 3))))
    with pytest.raises(ModelError, match="cannot run the model"):
        session.run({"x": np.zeros((1, 5, 3, 3), dtype=np.float32)})


def test_layers_are_named_timed_and_in_order(runtime):
    model = entry_graphs(LatencyKey(Convolution(16, 32, (3, 3)), (12, 12), RELU), copies=3).full
    inputs = random_inputs(runtime.compile(model), 1)
    layers = runtime.layer_times(model, inputs, runs=3)
    if runtime.name == "torch_compiled":
        assert layers == ()
        return
    # TensorRT may merge the three into one layer, which then tells all of them.
    assert sum(layer.operator.lower().count("conv") for layer in layers) >= 3
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(layer.median_ms >= 0 for layer in layers)
    assert sum(layer.median_ms for layer in layers) > 0


def test_a_mistaken_input_is_named(runtime):
    session = runtime.compile(single_graph(LatencyKey(Convolution(4, 8, (1, 1)), (3, 3))))
    with pytest.raises(ModelError, match=r"cannot run the model.*image"):
        session.run({"image": np.zeros((1, 4, 3, 3), dtype=np.float32)})


def test_the_number_of_torchs_threads_is_left_alone(runtime):
    before = torch.get_num_threads()
    session = runtime.compile(single_graph(LatencyKey(Convolution(4, 8, (1, 1)), (3, 3))))
    session.run(random_inputs(session, 1))
    assert torch.get_num_threads() == before
