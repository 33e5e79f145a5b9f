"""What of an ONNX model's numbers is a parameter; models are made by hand, and need not run."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import depthopt
from depthopt.check.onnx_files import stored_tensors
from depthopt.check.parameters import parameters
from tests.real_images import crops

WEIGHT = np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3)
OWN = "own"


def tensor(name, values, kind=None):
    if kind is None:
        return numpy_helper.from_array(np.asarray(values), name)
    values = np.asarray(values)
    return helper.make_tensor(name, kind, values.shape, values.flatten().tolist())


def node(operator, inputs, output="y", **attributes):
    return helper.make_node(operator, inputs.split(","), output.split(","), **attributes)


def graph_of(nodes, held=(), sparse=(), inputs=("x",), outputs=("y",)):
    def values(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    return helper.make_graph(
        nodes, "g", values(inputs), values(outputs), list(held), sparse_initializer=list(sparse)
    )


def count(nodes, held=(), functions=(), **options):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OWN, 1)]
    graph = graph_of(nodes, held, **options)
    return parameters(helper.make_model(graph, opset_imports=opsets, functions=list(functions)))


def constant(output="w", **attributes):
    return helper.make_node("Constant", [], [output], **attributes)


def sparse(name=""):
    indices = numpy_helper.from_array(np.array([0, 5, 107]), "indices")
    values = numpy_helper.from_array(np.ones(3, np.float32), name)
    return helper.make_sparse_tensor(values, indices, [108])


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"value": tensor("", WEIGHT)}, 108),
        ({"value_floats": [1.0, 2.0, 3.0]}, 3),
        ({"value_float": 1.0}, 1),
        ({"value_ints": [1, 2]}, 0),
        ({"value_int": 1}, 0),
        ({"value_string": "a"}, 0),
        ({"sparse_value": sparse()}, 3),
    ],
)
def test_constants_of_every_kind(attributes, wanted):
    assert count([constant(**attributes), node("Conv", "x,w")]) == wanted


def test_sparse_initialisers_count_what_they_store():
    assert count([node("Reshape", "w,shape", "v"), node("Conv", "x,v")],
                 [tensor("shape", [4, 3, 3, 3])], sparse=[sparse("w")]) == 3  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "INT8", "UINT8", "INT4",
             "UINT4"]
)  # fmt: skip
def test_numbers_of_any_width_count_once(kind):
    weight = tensor("w", WEIGHT.astype(int) % 2, getattr(TensorProto, kind))
    assert count([node("Cast", "w", "v", to=1), node("Conv", "x,v")], [weight]) == 108


@pytest.mark.parametrize(
    ("nodes", "held"),
    [
        ([node("Clip", "x,low,high")], {"low": np.float32(0), "high": np.float32(6)}),
        ([node("Pad", "x,pads,value")], {"pads": np.zeros(8, int), "value": np.float32(1)}),
        ([node("Reshape", "x,shape")], {"shape": np.array([1, -1])}),
        ([node("Resize", "x,,scales")], {"scales": np.ones(4, np.float32)}),
        ([node("Mul", "x,half")], {"half": np.float32(0.5)}),
        ([node("Identity", "half", "same"), node("Pow", "x,same")], {"half": np.float32(0.5)}),
        ([node("ReduceMean", "x,axes")], {"axes": np.array([2, 3])}),
        ([node("Gather", "x,which")], {"which": np.arange(9)}),
        (
            [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z")],
            {"s": np.ones(3, np.float32), "z": np.zeros(3, np.int8)},
        ),
        (
            [node("InstanceNormalization", "x,ones,zeros")],
            {"ones": np.ones(2, np.float32), "zeros": np.zeros(2, np.float32)},
        ),
        ([node("Relu", "x")], {"unread": WEIGHT}),
    ],
)
def test_what_describes_or_is_not_read_is_no_parameter(nodes, held):
    tensors = [tensor(name, values) for name, values in held.items()]
    assert count([*nodes, node("Conv", "y,w", "z")], [*tensors, tensor("w", WEIGHT)]) == 108


def test_numbers_of_one_channel_are_parameters():
    held = [tensor("gain", np.ones((1, 1, 1), np.float32)), tensor("slope", np.float32(0.1))]
    assert count([node("Mul", "x,gain", "v"), node("PRelu", "v,slope")], held) == 2


def test_running_statistics_are_none_as_in_torch():
    held = [tensor(name, np.ones(8, np.float32)) for name in ("scale", "shift", "mean", "var")]
    assert count([node("BatchNormalization", "x,scale,shift,mean,var")], held) == 16


def test_what_several_read_counts_once():
    nodes = [node("Conv", "x,w", "v"), node("Conv", "v,w")]
    assert count(nodes, [tensor("w", WEIGHT)]) == 108


def test_branches_and_bodies():
    then = graph_of([constant("a", value=tensor("", WEIGHT))], inputs=(), outputs=("a",))
    other = graph_of([node("Identity", "outer", "a")], inputs=(), outputs=("a",))
    chosen = helper.make_node("If", ["x"], ["w"], then_branch=then, else_branch=other)
    outer = tensor("outer", WEIGHT[:2])
    assert count([chosen, node("Conv", "x,w")], [outer]) == 108 + 54
    assert count([chosen, node("Pad", "x,w")], [outer]) == 0
    body = graph_of(
        [node("Add", "v,bias", "u"), node("Identity", "c", "d")],
        [tensor("bias", WEIGHT[0])],
        inputs=("i", "c", "v"),
        outputs=("d", "u"),
    )
    loop = helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)
    assert count([loop], [tensor("trips", 3)]) == 27


def test_functions_hold_what_they_hold_once_and_read_what_they_are_given():
    opsets = [helper.make_opsetid("", 17)]
    own = helper.make_function(
        OWN, "Layer", ["x", "w", "low"], ["y"],
        [constant("bias", value=tensor("", WEIGHT[0])), constant("gain"),
         node("Conv", "x,w", "u"), node("Add", "u,bias", "v"), node("Mul", "v,gain", "t"),
         node("Clip", "t,low")],
        opsets, attributes=["gains"],
    )  # fmt: skip
    own.node[1].attribute.append(
        onnx.AttributeProto(name="value_floats", ref_attr_name="gains", type="FLOATS")
    )
    calls = [
        node("Layer", "x,w,low", "u", domain=OWN, gains=[1.0, 2.0]),
        node("Layer", "u,w,low", "y", domain=OWN, gains=[3.0]),
    ]
    held = [tensor("w", WEIGHT), tensor("low", np.float32(0))]
    assert count(calls, held, [own]) == 108 + 27 + 2 + 1


def test_integers_of_quantised_operators():
    eight, wide = np.ones((4, 3, 3, 3), np.int8), np.ones(4, np.int32)
    held = {"s": np.float32(1), "z": np.int8(0), "w": eight, "ws": np.ones(4, np.float32),
            "wz": np.zeros(4, np.int8), "b": wide}  # fmt: skip
    tensors = [tensor(name, values) for name, values in held.items()]
    assert count([node("QLinearConv", "x,s,z,w,ws,wz,s,z,b")], tensors) == 112
    nodes = [node("DequantizeLinear", "w,ws,wz", "v"), node("DequantizeLinear", "b,ws", "c"),
             node("Conv", "x,v,c")]  # fmt: skip
    assert count(nodes, tensors) == 112
    packed = [tensor("p", np.zeros((8, 2, 16), np.uint8)), tensor("ps", np.ones(16, np.float32))]
    packed_node = node("MatMulNBits", "x,p,ps", domain="com.microsoft", K=64, N=8, bits=4)
    assert count([packed_node], packed) == 512


class Mixed(nn.Module):
    """Layers whose files hold more numbers than they learned."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU6(),
            nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, groups=8), nn.PReLU(),
            nn.Conv2d(8, 4, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 5),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x) * 0.5 + 1


def test_an_exported_network_has_its_modules_parameters_in_float_and_in_8_bits(tmp_path):
    torch.manual_seed(0)
    network, images = Mixed(), crops(4, (3, 8, 8))
    for tensor_ in network.parameters():
        nn.init.normal_(tensor_)
    wanted = sum(tensor_.numel() for tensor_ in network.parameters())
    depthopt.export_onnx(network, tmp_path / "float.onnx", images=images)
    depthopt.quantise(tmp_path / "float.onnx", tmp_path / "int8.onnx", images=images.split(1))
    for name in ("float", "int8"):
        assert parameters(onnx.load(tmp_path / f"{name}.onnx")) == wanted
    halved = onnx.load(tmp_path / "float.onnx")
    for held in halved.graph.initializer:
        if held.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(held).astype(np.float16)
            held.CopyFrom(numpy_helper.from_array(values, held.name))
    assert parameters(halved) == wanted


def test_tensors_are_found_wherever_they_are():
    then = graph_of([constant("a", value=tensor("1", 1.0))], inputs=(), outputs=("a",))
    other = graph_of([], [tensor("2", 1.0)], inputs=(), outputs=("2",))
    chosen = helper.make_node("If", ["x"], ["w"], then_branch=then, else_branch=other)
    function = helper.make_function(
        OWN, "F", ["x"], ["y"], [constant("y", value=tensor("3", 1.0))], []
    )
    nodes = [chosen, constant("k", sparse_value=sparse("4"))]
    model = helper.make_model(
        graph_of(nodes, [tensor("5", 1.0)], sparse=[sparse("6")]), functions=[function]
    )
    names = sorted(found.name for found in stored_tensors(model))
    assert names == ["1", "2", "3", "4", "5", "6", "indices", "indices"]
