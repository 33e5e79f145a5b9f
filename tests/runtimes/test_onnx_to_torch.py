"""ONNX models as torch modules, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper

from depthopt.errors import ModelError
from depthopt.export.onnx import export_onnx
from depthopt.runtimes.onnx_to_torch import onnx_to_torch
from depthopt.runtimes.registry import get_runtime

OPSET = 20


def model_of(operator, inputs, constants=(), *, opset=OPSET, outputs=1, **attributes):
    """One node; ``inputs`` are arrays, ``constants`` follow them as initializers."""
    tensors = [numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants)]
    names = [f"x{i}" for i in range(len(inputs))]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(operator, [*names, *(t.name for t in tensors)], results, **attributes)
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, kind, x.shape)
            for n, x in zip(names, inputs, strict=True)
        ],
        [helper.make_tensor_value_info(name, kind, None) for name in results],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def assert_equal_to_onnxruntime(model, *inputs):
    given = {f"x{i}": x for i, x in enumerate(inputs)}
    wanted = get_runtime("onnxruntime").compile(model).run(given)
    got = onnx_to_torch(model)(*(torch.from_numpy(x) for x in inputs))
    assert len(got) == len(wanted)
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-5, atol=1e-5)


def randoms(*shapes):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in shapes]


IMAGE = (2, 4, 6, 8)


@pytest.mark.parametrize(
    "operator",
    ["Abs", "Exp", "GlobalAveragePool", "GlobalMaxPool", "HardSwish", "Identity", "Mish", "Neg",
     "Relu", "Sigmoid", "Softplus", "Tanh", "Erf"],
)  # fmt: skip
def test_operators_of_one_input(operator):
    x = randoms(IMAGE)
    assert_equal_to_onnxruntime(model_of(operator, x), *x)


@pytest.mark.parametrize("operator", ["Add", "Div", "Mul", "Sub", "Max", "Min", "Sum"])
def test_operators_of_two_inputs_broadcast(operator):
    x = randoms(IMAGE, (2, 4, 1, 1))
    assert_equal_to_onnxruntime(model_of(operator, x), *x)


LONGS = np.int64


@pytest.mark.parametrize(
    ("operator", "constants", "attributes"),
    [
        ("HardSigmoid", [], {"alpha": 0.3, "beta": 0.4}),
        ("Elu", [], {"alpha": 0.7}),
        ("LeakyRelu", [], {"alpha": 0.2}),
        ("Gelu", [], {"approximate": "tanh"}),
        ("Softmax", [], {"axis": 1}),
        ("Clip", [np.float32(-0.5), np.float32(0.5)], {}),
        ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        (
            "AveragePool",
            [],
            {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "count_include_pad": 1},
        ),
        ("ReduceMean", [np.array([2, 3], LONGS)], {"keepdims": 1}),
        ("ReduceSum", [np.array([1], LONGS)], {"keepdims": 0}),
        ("ReduceMax", [], {"keepdims": 0}),
        ("ReduceL2", [np.array([1], LONGS)], {"keepdims": 1}),
        ("ReduceL2", [], {"keepdims": 0}),
        ("Flatten", [], {}),
        ("Reshape", [np.array([0, -1], LONGS)], {}),
        ("Reshape", [np.array([2, 2, -1], LONGS)], {}),
        ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("Slice", [np.array([1], LONGS), np.array([6], LONGS), np.array([3], LONGS)], {}),
        ("Pad", [np.array([0, 0, 1, 2, 0, 0, 3, 0], LONGS)], {}),
        ("Pad", [np.array([0, 0, 1, 2, 0, 0, 3, 0], LONGS)], {"mode": "reflect"}),
        ("Gather", [np.array(2, LONGS)], {"axis": 1}),
        ("Gather", [np.array([3, 0], LONGS)], {"axis": 1}),
        ("Unsqueeze", [np.array([0, 2], LONGS)], {}),
        ("Pow", [np.float32(2)], {}),
        ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
        *(
            ("Resize", [np.array([], np.float32), np.array([1, 1, *by], np.float32)], how)
            for by in ((2, 2), (1.5, 2))
            for how in (
                {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
            )
        ),
    ],
)
def test_operators_with_settings(operator, constants, attributes):
    x = randoms(IMAGE)
    assert_equal_to_onnxruntime(model_of(operator, x, constants, **attributes), *x)


@pytest.mark.parametrize(
    ("outputs", "attributes"),
    [
        (3, {"kernel_shape": [2, 2], "strides": [2, 2]}),
        (3, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        (3, {"kernel_shape": [3, 3], "strides": [2, 2], "output_padding": [1, 1]}),
        (1, {"kernel_shape": [2, 3], "dilations": [1, 2], "group": 4}),
    ],
)
def test_transposed_convolutions(outputs, attributes):
    x = randoms(IMAGE)
    weight, bias = randoms(
        (4, outputs, *attributes["kernel_shape"]), (outputs * attributes.get("group", 1),)
    )
    assert_equal_to_onnxruntime(model_of("ConvTranspose", x, [weight, bias], **attributes), *x)


def test_splits_have_several_outputs():
    x = randoms(IMAGE)
    sizes = np.array([1, 3], LONGS)
    assert_equal_to_onnxruntime(model_of("Split", x, [sizes], outputs=2, axis=1), *x)


def test_matrix_products():
    x = randoms((2, 5))
    weight, bias = randoms((5, 3), (3,))
    assert_equal_to_onnxruntime(model_of("Gemm", x, [weight, bias]), *x)
    assert_equal_to_onnxruntime(model_of("Gemm", x, [weight.T.copy(), bias], transB=1), *x)
    assert_equal_to_onnxruntime(model_of("MatMul", x, [weight]), *x)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_whole_networks(name, tmp_path):
    model = timm.create_model(name).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    export_onnx(model, tmp_path / "model.onnx", images=images, batch=2)
    (logits,) = onnx_to_torch(tmp_path / "model.onnx")(images)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(images), rtol=1e-4, atol=1e-4)


def test_an_unknown_operator_is_named():
    x = randoms(IMAGE)
    with pytest.raises(ModelError, match=r"operator ai\.onnx\.Sinh is not known"):
        onnx_to_torch(model_of("Sinh", x))


def test_an_option_that_is_not_known_is_named():
    x = randoms(IMAGE)
    weight = randoms((3, 4, 1, 1))
    model = model_of("Conv", x, weight, kernel_shape=[1, 1], auto_pad="SAME_UPPER")
    with pytest.raises(ModelError, match="Conv with auto_pad='SAME_UPPER' is not known"):
        onnx_to_torch(model)


def test_what_torch_places_otherwise_is_refused():
    x, nothing = randoms(IMAGE), np.array([], np.float32)
    scales = np.array([1, 1, 2, 2], np.float32)
    place = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    with pytest.raises(ModelError, match="Resize with coordinate_transformation_mode='asymmetric'"):
        onnx_to_torch(model_of("Resize", x, [nothing, scales], **place))
    with pytest.raises(ModelError, match="DepthToSpace with mode='DCR' is not known"):
        onnx_to_torch(model_of("DepthToSpace", x, blocksize=2))


def test_a_dilated_average_is_refused():
    model = model_of("AveragePool", randoms(IMAGE), kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(ModelError, match=r"AveragePool with dilations=\[2, 2\] is not known"):
        onnx_to_torch(model)


def test_an_old_opset_is_refused():
    with pytest.raises(ModelError, match="its opset is 9, expected 13 or newer"):
        onnx_to_torch(model_of("Relu", randoms(IMAGE), opset=9))
