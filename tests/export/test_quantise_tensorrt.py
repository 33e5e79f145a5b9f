"""8-bit files as TensorRT reads them, by the parser and the builder of TensorRT for RTX: for a
target that is named these need no GPU."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from depthopt.check.parameters import parameters
from depthopt.cli.main import main
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.export.onnx import export_onnx, load_onnx, relative_difference
from depthopt.export.quantise import quantise
from depthopt.graph.trace import trace
from depthopt.runtimes.tensorrt.ahead import build_ahead
from depthopt.shallow.fuse import fuse
from tests.networks import Residual, randomised
from tests.real_images import crops

pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")

IMAGES = crops(8, (3, 32, 32))


def built(path: Path, batch: int = 1) -> tuple[str, ...]:
    """What the library says of each layer of the engine that it builds of a file.

    Raises:
        ModelError: it cannot parse or build the file.
    """
    model = onnx.load(path)
    for entry in model.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]  # of the free batch
    found = build_ahead(model.SerializeToString(), targets=["sm89"])
    return tuple(line for line in found.told.splitlines() if line.lstrip().startswith("Name:"))


def in_8_bits(path: Path, layers: tuple[str, ...], kind: str = "Conv") -> list[bool]:
    """Of each operator of a kind in a file, whether a layer with it reads 8-bit tensors."""
    of_them = [node.name for node in onnx.load(path).graph.node if node.op_type == kind]
    return [
        any(f"[ONNX Layer: {name}]" in line and "Datatype: Int8" in line for line in layers)
        for name in of_them
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Residual blocks with ReLU6, a depthwise convolution, and one channel that is all 0."""
    network = Residual()
    conv = network.stem[0]
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight[1] = 0
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    export_onnx(network, path, images=IMAGES[:, :2], batch=None)
    return path


@pytest.mark.parametrize(("name", "convolutions"), [("mobilenetv2_100", 52), ("resnet18", 20)])
def test_a_networks_8_bit_file_is_built(name: str, convolutions: int, tmp_path: Path) -> None:
    network = fuse(trace(timm.create_model(name, num_classes=10).eval(), (3, 32, 32)))
    export_onnx(network, tmp_path / "net.onnx", images=IMAGES[:1])
    quantise(tmp_path / "net.onnx", tmp_path / "int8.onnx", images=IMAGES[:2].split(1),
             runtime="tensorrt")  # fmt: skip
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size / 3
    layers = built(tmp_path / "int8.onnx")
    assert in_8_bits(tmp_path / "int8.onnx", layers) == [True] * convolutions


def test_activations_are_symmetric_and_biases_are_float(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantise(small, path, images=IMAGES[:, :2].split(4), runtime="tensorrt")
    graph = load_onnx(path).graph
    held = {t.name: t for t in graph.initializer}
    makers = {output: node.op_type for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert held[node.input[2]].data_type == TensorProto.INT8
            assert not numpy_helper.to_array(held[node.input[2]]).any()
            assert (numpy_helper.to_array(held[node.input[1]]) > 0).all()
        elif node.op_type in {"Conv", "Gemm"}:
            assert [makers[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert held[node.input[2]].data_type == TensorProto.FLOAT
        for name in node.output:
            users = [user.op_type for user in graph.node if name in user.input]
            if node.op_type == "Conv":
                assert set(users) <= {"Clip", "Relu", "Add"}, "no pair between"
    assert {t.data_type for t in held.values() if len(t.dims) == 4} == {TensorProto.INT8}
    assert parameters(onnx.load(path)) == parameters(onnx.load(small))


def test_logits_stay_near_and_the_file_says_what_it_is_for(small: Path, tmp_path: Path) -> None:
    path, images = tmp_path / "int8.onnx", IMAGES[:, :2]
    quantise(small, path, images=images.split(4), runtime="tensorrt")

    def logits(path: Path) -> Tensor:
        return torch.from_numpy(
            np.asarray(ort.InferenceSession(path).run(None, {"image": images.numpy()})[0])
        )

    assert 0 < relative_difference(logits(small), logits(path)) < 0.05
    told = {entry.key: entry.value for entry in load_onnx(path).metadata_props}
    assert told["depthopt.dtype"] == "int8"
    assert told["depthopt.int8_for"] == "tensorrt"


def test_the_form_for_onnxruntime_is_refused_by_tensorrt(small: Path, tmp_path: Path) -> None:
    quantise(small, tmp_path / "int8.onnx", images=IMAGES[:, :2].split(4))
    told = {e.key: e.value for e in load_onnx(tmp_path / "int8.onnx").metadata_props}
    assert told["depthopt.int8_for"] == "onnxruntime"
    with pytest.raises(ModelError, match="type Int32 but must have type"):
        built(tmp_path / "int8.onnx")


class Operators(nn.Module):
    """What gates, pools, concatenates and enlarges between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.pools = nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)
        self.side = nn.Conv2d(16, 8, 1, bias=False)
        self.up, self.grouped = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = nn.functional.relu6(self.depthwise(x))
        scale = self.expand(nn.functional.silu(self.reduce(y.mean((2, 3), keepdim=True))))
        y = x + y * scale.sigmoid()
        y = nn.functional.leaky_relu(self.side(torch.cat([pool(y) for pool in self.pools], 1)))
        y = nn.functional.gelu(self.grouped(self.up(y))) + 1
        return self.head(nn.functional.interpolate(y, scale_factor=2.0).amax((2, 3)))


def test_other_operators_between_are_built(tmp_path: Path) -> None:
    network = randomised(Operators())
    export_onnx(network, tmp_path / "net.onnx", images=IMAGES, batch=None)
    path = tmp_path / "int8.onnx"
    quantise(tmp_path / "net.onnx", path, images=IMAGES.split(4), runtime="tensorrt")
    layers = built(path, batch=2)
    assert in_8_bits(path, layers) == [True] * 6
    assert in_8_bits(path, layers, "Gemm") == [True]


def test_what_tensorrt_cannot_parse_is_named(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="mixed"),
             helper.make_node("Det", ["y"], ["z"], name="det_7")]  # fmt: skip
    x, z = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 32, 32]), ("z", [1, 1]))
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(
        helper.make_graph(nodes, "net", [x], [z], [weight]), opset_imports=opset
    )
    onnx.save(model, tmp_path / "net.onnx")
    path = tmp_path / "int8.onnx"
    quantise(tmp_path / "net.onnx", path, images=IMAGES.split(1), runtime="tensorrt")
    with pytest.raises(ModelError, match="det_7") as caught:
        built(path)
    assert "\n" not in str(caught.value)


def test_bad_input_is_named(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    with pytest.raises(DataError, match="no images to quantise with"):
        quantise(small, path, images=(), runtime="tensorrt")
    known = r"cannot quantise for 'openvino'; runtime may be: onnxruntime, tensorrt"
    with pytest.raises(UsageError, match=known):
        quantise(small, path, images=IMAGES.split(4), runtime="openvino")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"onnxruntime cannot quantise .*net\.onnx: "):
        quantise(small, path, images=IMAGES.split(4), runtime="tensorrt")  # of 3 channels, not 2
    assert not list(tmp_path.iterdir())


def test_what_it_is_for_needs_int8(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (("--for", "tensorrt"), "--for tensorrt goes with --int8; give --int8 too"),
        (("--int8", "--for", "openvino"), "'openvino' is not one of"),
    ):
        monkeypatch.setattr("sys.argv", ["depthopt", "export", "quickstart", *words])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert said in capsys.readouterr().err.splitlines()[-1]
