"""Layers of ONNX Runtime by the names of the user's nodes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.onnx_names import OWN, Ran, by_user_names
from depthopt.runtimes.onnxruntime import OnnxRuntime

WIDTH = 16


def network(*nodes, outputs=("out",), width=WIDTH):
    """A model of these nodes over ``x``; whatever they read and none gives is a weight."""
    given = {"x", "", *(output for node in nodes for output in node.output)}
    shapes = {"Conv": (width, width, 3, 3), "Gemm": (width, 10)}
    weights = {
        name: np.zeros(shapes[node.op_type], np.float32)
        for node in nodes
        for name in node.input
        if name not in given
    }
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width, 8, 8])
    graph = helper.make_graph(
        nodes,
        "net",
        [image],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def conv(name, x, to):
    return helper.make_node("Conv", [x, f"{to}.weight"], [to], name=name, pads=[1] * 4)


def op(kind, name, inputs, to):
    return helper.make_node(kind, inputs, [to], name=name)


RESIDUAL = network(
    conv("stem/conv", "x", "a"),
    op("Relu", "stem/relu", ["a"], "b"),
    conv("", "b", "c"),
    op("Add", "block/add", ["c", "b"], "d"),
    op("Relu", "block/out", ["d"], "e"),
    conv("tail/conv", "e", "f"),
    op("Sigmoid", "tail/gate", ["f"], "g"),
    op("GlobalAveragePool", "pool", ["g"], "h"),
    op("Flatten", "", ["h"], "i"),
    op("Gemm", "head/linear", ["i", "head.weight"], "j"),
    op("Relu", "head/relu", ["j"], "out"),
)


def layers(model):
    runtime, content = OnnxRuntime(), model.SerializeToString()
    return runtime.layer_times(content, random_inputs(runtime.compile(content), 1), runs=2)


def test_layers_bear_the_names_of_the_users_nodes():
    found = layers(RESIDUAL)
    names = [layer.name for layer in found]
    assert names[0] == "stem/relu", "of what was fused, the last"
    assert names[1:3] == ["block/out", "tail/gate"]
    assert {"pool", "i", "head/relu"} <= set(names), "a node without a name goes by its output"
    assert not any("nchwc" in name.lower() or "fused" in name for name in names)
    assert names.count(OWN) <= 1
    assert not any("Reorder" in name for name in names)
    assert names[-1] == OWN or OWN not in names
    assert len(set(names)) == len(names)


def test_what_is_read_outside_the_layer_ends_it():
    model = network(
        conv("first", "x", "a"), op("Relu", "relu", ["a"], "b"), conv("second", "b", "out"),
        outputs=("a", "out"),
    )  # fmt: skip
    assert [layer.name for layer in layers(model) if layer.name != OWN] == [
        "first", "relu", "second"
    ]  # fmt: skip


@pytest.mark.parametrize("beside", [True, False])
def test_a_file_is_read_without_its_weights(tmp_path, beside):
    path, model = tmp_path / "net.onnx", onnx.load_from_string(RESIDUAL.SerializeToString())
    onnx.save(model, path, save_as_external_data=beside, location="weights", size_threshold=0)
    runtime = OnnxRuntime()
    found = runtime.layer_times(path, random_inputs(runtime.compile(path), 1), runs=1)
    assert found[0].name == "stem/relu"


def renamed(ran, *, given=RESIDUAL, as_run=()):
    (layer,) = by_user_names(given, network(*as_run), [(ran, 1.0)])
    return layer.name


@pytest.mark.parametrize("name", ["b_nchwc", "b_nchwc_token_7", "fused stem/relu"])
def test_a_layer_whose_output_is_laid_out_anew_is_told_by_its_name(name):
    node = helper.make_node("Conv", ["x"], ["reorder_token_0"], name=name)
    assert renamed(Ran(name, "Conv", 30), as_run=[node]) == "stem/relu"


def test_a_fusion_that_is_told_by_its_name_is_found():
    node = helper.make_node("QuickGelu", ["x"], ["reorder"], name="tail/gate/QuickGeluFusion/")
    assert renamed(Ran(node.name, "QuickGelu", 30), as_run=[node]) == "tail/gate"


def test_a_node_without_a_name_is_found_by_its_place():
    assert renamed(Ran("Flatten_8", "Flatten", 8)) == "i"
    assert renamed(Ran("Flatten_8", "Flatten", 9)) == OWN, "another operator is at that place"


def test_linear_layers_of_tokens_are_told_from_what_arranges_them():
    weights = {"w": np.zeros((16, 24), np.float32), "b": np.zeros(24, np.float32)}
    nodes = [
        op("MatMul", "mlp/product", ["x", "w"], "y"),
        op("Add", "mlp/bias", ["y", "b"], "z"),
        op("Tanh", "mlp/act", ["z"], "out"),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 7, 16])]
    gives = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 7, 24])]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", given, gives, tensors)
    opset = [helper.make_opsetid("", 20)]
    found = layers(helper.make_model(graph, opset_imports=opset, ir_version=10))
    kinds = {layer.name: layer.operator for layer in found}
    assert kinds == {"mlp/bias": "Gemm", "mlp/act": "Tanh", OWN: "Reorder"}


def test_what_no_node_stands_for_is_summed():
    times = [(Ran("ReorderInput", "ReorderInput", 40), 0.25), (Ran("x", "Copy", 41), 0.5)]
    (own,) = by_user_names(RESIDUAL, network(), times)
    assert (own.name, own.median_ms) == (OWN, 0.75)
