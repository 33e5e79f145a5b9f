"""Operators by what older opsets have: equal to the young ones on ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from depthopt.errors import CheckFailed, ModelError
from depthopt.export.older import TooOld, older
from depthopt.export.onnx import export_onnx, load_onnx
from tests.real_images import crops

SHAPE = (2, 6, 5, 7)


def model_of(nodes: list[Any], outputs: int = 1, **held: np.ndarray) -> onnx.ModelProto:
    names = [f"y{i}" for i in range(outputs)] if outputs > 1 else ["y"]
    kind = TensorProto.INT64 if nodes[-1].op_type == "Shape" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, kind, None) for name in names],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def node(operator: str, *inputs: str, outputs: tuple[str, ...] = ("y",), **attributes: Any) -> Any:
    return helper.make_node(operator, ["x", *inputs], outputs, **attributes)


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    x = np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": x}))


AXES = np.array([1, -1])
SCALE, SHIFT = np.linspace(-1, 2, 35).reshape(5, 7), np.linspace(0, 1, 35).reshape(5, 7)
THREE = ("y0", "y1", "y2")

CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "gelu": ([node("Gelu")], {}),
    "gelu by tanh": ([node("Gelu", approximate="tanh")], {}),
    "mish": ([node("Mish")], {}),
    "layer norm": (
        [node("LayerNormalization", "scale", "shift", axis=2, epsilon=0.3)],
        {"scale": SCALE.astype(np.float32), "shift": SHIFT.astype(np.float32)},
    ),
    "layer norm of the last axis": (
        [node("LayerNormalization", "scale")],
        {"scale": SCALE[0].astype(np.float32)},
    ),
    "split evenly": ([node("Split", outputs=THREE, axis=1, num_outputs=3)], {}),
    "split unevenly": ([node("Split", outputs=THREE, axis=-1, num_outputs=3)], {}),
    "shape": ([node("Shape", start=1, end=-1)], {}),
    "end of a shape": ([node("Shape", start=-2)], {}),
    "resize": (
        [node("Resize", "", "scales", mode="linear", antialias=0)],
        {"scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "mean over nothing": ([node("ReduceMean", noop_with_empty_axes=1)], {}),
    "average pooling": ([node("AveragePool", kernel_shape=[2, 2], dilations=[1, 1])], {}),
    "greatest of all": ([node("ReduceMax", keepdims=0)], {}),
} | {
    f"reduce {name}": ([node(f"Reduce{name}", "axes", keepdims=0)], {"axes": AXES})
    for name in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
} | {
    f"pad by {mode}": (
        [node("Pad", "pads", *(["value"] if mode == "constant" else []), mode=mode)],
        {"pads": np.array([0, 0, 1, 2, 0, 0, 3, -1])}
        | ({"value": np.float32(0.5)} if mode == "constant" else {}),
    )
    for mode in ("constant", "reflect", "edge")
}  # fmt: skip


@pytest.mark.parametrize("opset", [14, 17, 19])
@pytest.mark.parametrize("case", CASES)
def test_what_is_written_out_computes_the_same(case: str, opset: int) -> None:
    nodes, held = CASES[case]
    outputs = len(nodes[-1].output)
    young = model_of(nodes, outputs, **{name: np.asarray(values) for name, values in held.items()})
    old = older(young, opset)
    assert old.opset_import[0].version == opset
    for found, wanted in zip(run(old), run(young), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)


def test_what_is_old_enough_stays_as_it_is() -> None:
    assert [n.op_type for n in older(model_of([node("Gelu")]), 20).graph.node] == ["Gelu"]
    assert [n.op_type for n in older(model_of([node("Mish")]), 18).graph.node] == ["Mish"]


@pytest.mark.parametrize(
    ("young", "message"),
    [
        (node("Trilu"), "it has no Trilu"),
        (node("Resize", "", "scales", antialias=1, mode="linear"), "its Resize has no antialias"),
        (
            node("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]),
            "AveragePool has no dilations",
        ),
        (node("Pad", "pads", "", "axes"), "its Pad takes no more than 3 inputs"),
    ],
)
def test_what_an_opset_lacks_is_named(young: Any, message: str) -> None:
    held = {"scales": np.array([1, 1, 2, 2], np.float32), "pads": np.array([1, 1]),
            "axes": np.array([2])}  # fmt: skip
    used = {name: values for name, values in held.items() if name in young.input}
    with pytest.raises(TooOld, match=message) as caught:
        older(model_of([young], **used), 13)
    assert "\n" not in str(caught.value)


def test_a_network_of_young_operators_is_written_in_an_old_opset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.GELU(), nn.GroupNorm(2, 4),
        nn.Mish(), nn.ReplicationPad2d((1, -1, 2, 1)), nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(),
        nn.Linear(24, 5),
    )  # fmt: skip
    images = crops(2, (3, 8, 9))
    assert export_onnx(network, tmp_path / "n.onnx", images=images, opset=14) < 1e-5
    model = load_onnx(tmp_path / "n.onnx")
    assert model.opset_import[0].version == 14
    assert not {"Constant", "Gelu", "Mish"} & {node.op_type for node in model.graph.node}


class Smoothed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, (3, 3), mode="bilinear", antialias=True).flatten(1)


@pytest.mark.parametrize("opset", [14, 99])
def test_a_refusal_names_an_opset_that_works(opset: int, tmp_path: Path) -> None:
    path, images = tmp_path / "n.onnx", crops(1, (3, 8, 8))
    with pytest.raises(ModelError, match=r"opset \d+ was tried and works") as caught:
        export_onnx(Smoothed(), path, images=images, opset=opset)
    assert "\n" not in str(caught.value)
    assert f"cannot be written in ONNX's opset {opset} (" in str(caught.value)
    works = int(str(caught.value).split()[-5])
    assert works == (18 if opset == 14 else 20)
    assert not path.exists()


def test_what_is_wrong_in_every_opset_is_no_matter_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthopt.export.onnx.onnx_difference", lambda *_: 0.5)
    with pytest.raises(CheckFailed, match="differ from torch's"):
        export_onnx(nn.Flatten(), tmp_path / "n.onnx", images=crops(1, (1, 4, 4)), opset=17)
