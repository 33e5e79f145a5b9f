"""When an engine is written, with a runtime that stands in for TensorRT."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.errors import ArtefactError, CheckFailed, ModelError, RuntimeUnavailable
from depthopt.export.engine import export_engine
from depthopt.export.onnx import export_onnx
from depthopt.runtimes.onnxruntime import OnnxRuntime
from depthopt.runtimes.registry import get_runtime
from tests.real_images import crops

IMAGES = crops(8, (1, 6, 6))


class Builder(OnnxRuntime):
    """ONNX Runtime with engines that only say what they are of."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype

    def save_engine(self, model: bytes | Path, path: Path) -> None:
        assert isinstance(model, Path)
        path.write_bytes(b"engine of " + model.name.encode())


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()


def off_by(network: nn.Module, factor: float) -> nn.Module:
    """The network with its logits times a factor."""
    changed = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in changed[-1].parameters():
            parameter.mul_(factor)
    return changed


@pytest.mark.parametrize("batch", [1, 8])
def test_an_engine_that_answers_alike_is_written(
    batch: int, network: nn.Module, tmp_path: Path
) -> None:
    model, path = tmp_path / "net.onnx", tmp_path / "net.engine"
    export_onnx(network, model, images=IMAGES, batch=batch)
    assert export_engine(network, model, path, runtime=Builder("float32"), images=IMAGES) < 1e-5
    assert path.read_bytes() == b"engine of net.onnx"


@pytest.mark.parametrize(
    ("dtype", "factor", "passes"),
    [
        ("float32", 1.002, False),
        ("float16", 1.05, True),
        ("tf32", 1.05, True),
        ("tf32", 1.2, False),
    ],
)
def test_how_far_off_it_may_be_depends_on_what_it_computes_in(
    dtype: str, factor: float, passes: bool, network: nn.Module, tmp_path: Path
) -> None:
    model, path = tmp_path / "net.onnx", tmp_path / "net.engine"
    export_onnx(off_by(network, factor), model, images=IMAGES)
    if passes:
        export_engine(network, model, path, runtime=Builder(dtype), images=IMAGES)
    else:
        with pytest.raises(CheckFailed, match=r"engine's outputs .* net\.engine was not written"):
            export_engine(network, model, path, runtime=Builder(dtype), images=IMAGES)
    assert path.exists() == passes


def test_what_no_engine_can_be_made_of_is_told(network: nn.Module, tmp_path: Path) -> None:
    model, path = tmp_path / "net.onnx", tmp_path / "net.engine"
    export_onnx(network, model, images=IMAGES, batch=None)
    with pytest.raises(ModelError, match=r"net\.onnx is for any batch, an engine for one"):
        export_engine(network, model, path, runtime=Builder("float32"), images=IMAGES)
    with pytest.raises(RuntimeUnavailable, match="'onnxruntime' builds no engines; set latency"):
        export_engine(network, model, path, runtime=get_runtime("onnxruntime"), images=IMAGES)
    model.write_bytes(model.read_bytes()[:-50])
    with pytest.raises(ArtefactError, match=r"net\.onnx is no whole ONNX file"):
        export_engine(network, model, path, runtime=Builder("float32"), images=IMAGES)
    assert not path.exists()
