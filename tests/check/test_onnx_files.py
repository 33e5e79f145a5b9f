from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from depthopt.check.network_files import side_of
from depthopt.check.onnx_files import read_onnx, why_unsound
from depthopt.check.parameters import parameters
from depthopt.errors import ModelError
from depthopt.runtimes.registry import get_runtime
from tests.check.models import convolutions

FLOAT = TensorProto.FLOAT


def model_of(nodes, initializers=(), shape=(1, 3), functions=()):
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)], list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def multiplying(count: int) -> list[onnx.FunctionProto]:
    """Functions each of which calls the one before four times."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    made = []
    for i in range(count):
        inner = ("Relu", "") if i == 0 else (f"f{i - 1}", "f")
        nodes = [
            helper.make_node(inner[0], [before], [after], domain=inner[1])
            for before, after in pairwise("abcde")
        ]
        made.append(helper.make_function("f", f"f{i}", ["a"], ["e"], nodes, opsets))
    return made


def test_networks_of_every_day_are_sound(tmp_path: Path) -> None:
    path = convolutions(tmp_path / "m.onnx", 3)
    assert why_unsound(read_onnx(path)) is None


def test_a_tensor_that_is_made_too_large_is_refused() -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")
    node = helper.make_node("ConstantOfShape", ["shape"], ["y"])
    assert "its tensor 'y' is 1048576x1048576" in why_unsound(model_of([node], [shape]))


def test_a_tensor_that_says_more_than_it_holds_is_refused() -> None:
    weight = TensorProto(name="w", data_type=FLOAT, dims=[10**9, 10**9], raw_data=b"1234")
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], [weight])
    assert "'w' claims to be 1000000000x1000000000, but holds less" in why_unsound(model)


def test_functions_that_multiply_or_call_themselves_are_refused() -> None:
    node = helper.make_node("f11", ["x"], ["y"], domain="f")
    assert "more than 1,000,000 nodes" in why_unsound(model_of([node], functions=multiplying(12)))
    few = helper.make_node("f3", ["x"], ["y"], domain="f")
    assert why_unsound(model_of([few], functions=multiplying(4))) is None
    own = multiplying(1)[0]
    own.node[0].op_type, own.node[0].domain = "f0", "f"
    call = helper.make_node("f0", ["x"], ["y"], domain="f")
    assert "'f0' calls itself" in why_unsound(model_of([call], functions=[own]))


def test_graphs_nested_too_deeply_are_refused() -> None:
    graph = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], a=graph)], "g", [], [])
    assert "nested more than 16 deep" in why_unsound(model_of(graph.node))


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("InstanceNormalization", ["x", "w"], ["y"]),
        helper.make_node("MatMulNBits", ["x"], ["y"]),
        helper.make_node("DequantizeLinear", [], ["y"]),
    ],
)
def test_nodes_without_their_inputs_are_no_defect(node: onnx.NodeProto) -> None:
    with pytest.raises(ModelError, match="its parameters cannot be counted"):
        parameters(model_of([node], [numpy_helper.from_array(np.ones(3, np.float32), "w")]))


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_inputs_too_large_to_be_made_up_are_refused(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 10**6, 10**6)), path)
    with pytest.raises(ModelError, match="1x1000000x1000000"):
        side_of(path, runtime=get_runtime(runtime), batch=1, scratch=tmp_path)


@pytest.mark.parametrize("location", ["../w", "/etc/passwd", "a\0b", ""])
def test_weights_elsewhere_are_not_read(tmp_path: Path, location: str) -> None:
    weight = TensorProto(name="w", data_type=FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    path = tmp_path / "m.onnx"
    path.write_bytes(
        model_of([helper.make_node("Add", ["x", "w"], ["y"])], [weight]).SerializeToString()
    )
    with pytest.raises(ModelError, match="keeps weights in"):
        side_of(path, runtime=get_runtime("onnxruntime"), batch=1, scratch=tmp_path)
