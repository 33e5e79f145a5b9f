from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from depthopt.errors import ArtefactError, DataError
from depthopt.export.onnx import export_onnx, load_onnx, relative_difference
from depthopt.export.quantise import quantise
from tests.networks import Residual
from tests.real_images import crops

IMAGES = crops(64, (3, 16, 16))[:, :2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose first convolution's channels differ a hundredfold in size."""
    network = Residual()
    conv = network.stem[0]
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight[0] *= 100
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    export_onnx(network, path, images=IMAGES, batch=None, metadata={"depthopt.model": "small"})
    return path


def logits(path: Path) -> Tensor:
    return torch.from_numpy(ort.InferenceSession(path).run(None, {"image": IMAGES.numpy()})[0])


def test_every_convolution_is_in_8_bits_and_logits_stay_near(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantise(model, path, images=IMAGES.split(16))
    whole = load_onnx(path)
    kinds = Counter(node.op_type for node in whole.graph.node)
    assert kinds["Conv"] == Counter(n.op_type for n in load_onnx(model).graph.node)["Conv"]
    assert kinds["DequantizeLinear"] > kinds["QuantizeLinear"] > kinds["Conv"]
    weights = [t for t in whole.graph.initializer if len(t.dims) == 4]
    assert {t.data_type for t in weights} == {3}, "INT8, and no float weight beside it"
    assert relative_difference(logits(model), logits(path)) < 0.1
    told = {entry.key: entry.value for entry in whole.metadata_props}
    assert told["depthopt.model"] == "small"
    assert told["depthopt.dtype"] == "int8"


def first_weight(path: Path) -> NDArray[np.float32]:
    """The first convolution's, as it is computed with."""
    model = load_onnx(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    if conv.input[1] in tensors:
        return tensors[conv.input[1]]
    integers, scale = (tensors[name] for name in makers[conv.input[1]].input[:2])
    return integers * scale.reshape(-1, 1, 1, 1).astype(np.float32)


def test_scales_per_channel_serve_unlike_channels_better(model: Path, tmp_path: Path) -> None:
    wanted, errors = first_weight(model), {}
    for per_channel in (True, False):
        path = tmp_path / f"{per_channel}.onnx"
        quantise(model, path, images=IMAGES.split(16), per_channel=per_channel)
        errors[per_channel] = np.abs(first_weight(path) - wanted)[1:].max()
    assert errors[True] < np.abs(wanted[1:]).max() / 200
    assert errors[False] > 10 * errors[True]


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten()).eval()
    export_onnx(network, tmp_path / "net.onnx", images=IMAGES, batch=4)
    quantise(tmp_path / "net.onnx", tmp_path / "int8.onnx", images=IMAGES.split(4))
    session = ort.InferenceSession(tmp_path / "int8.onnx")
    assert session.get_inputs()[0].shape == [4, 2, 16, 16]
    assert np.isfinite(session.run(None, {"image": IMAGES[:4].numpy()})[0]).all()


def test_bad_input_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images to quantise with"):
        quantise(model, tmp_path / "int8.onnx", images=())
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"cut\.onnx is not a whole ONNX file"):
        quantise(cut, tmp_path / "int8.onnx", images=IMAGES.split(4))
    assert [p.name for p in tmp_path.iterdir()] == ["cut.onnx"]
