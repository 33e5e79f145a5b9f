"""When an engine is written, with a runtime that stands in for a GPU's.

Engines for targets are real ones, by TensorRT for RTX.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.core.artefacts import load_json
from depthopt.errors import ArtefactError, CheckFailed, ModelError, RuntimeUnavailable, UsageError
from depthopt.export import engine
from depthopt.export.engine import export_engine
from depthopt.export.onnx import export_onnx
from depthopt.runtimes.base import Session
from depthopt.runtimes.onnxruntime import OnnxRuntime
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt import files
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin
from tests.real_images import crops

IMAGES = crops(8, (1, 6, 6))
rtx = pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")


class Builder(OnnxRuntime):
    """ONNX Runtime with engines that only say what they are of."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype

    def save_engine(self, model: bytes | Path, path: Path, *, checked: bool | None = None) -> None:
        assert isinstance(model, Path)
        assert checked
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
    with pytest.raises(ModelError, match=r"net\.onnx is for any batch, but an engine needs one"):
        export_engine(network, model, path, runtime=Builder("float32"), images=IMAGES)
    with pytest.raises(
        RuntimeUnavailable, match="'onnxruntime' does not build engines; set latency"
    ):
        export_engine(network, model, path, runtime=get_runtime("onnxruntime"), images=IMAGES)
    model.write_bytes(model.read_bytes()[:-50])
    with pytest.raises(ArtefactError, match=r"net\.onnx is not a whole ONNX file"):
        export_engine(network, model, path, runtime=Builder("float32"), images=IMAGES)
    assert not path.exists()


class Loader(OnnxRuntime):
    """A GPU of compute capability 8.9 on which every engine is the same ONNX file."""

    here = Origin("NVIDIA GeForce RTX 4090", "8.9", rtx.__version__, library="tensorrt_rtx")

    def __init__(self, model: Path) -> None:
        super().__init__()
        self.model = model

    def load_engine(self, path: Path) -> Session:
        files.check(path, self.here)
        return self.compile(self.model)


@pytest.fixture
def exported(network: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    export_onnx(network, path, images=IMAGES)
    return path


def test_an_engine_for_targets_is_written_unchecked_where_it_cannot_run(
    network: nn.Module, exported: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.engine" for name in "ab"]
    targets = ["sm89", "sm120"]
    for path in paths:
        assert export_engine(network, exported, path, images=IMAGES, targets=targets) is None
    assert paths[0].read_bytes() == paths[1].read_bytes()
    made = load_json(Origin, tmp_path / "a.engine.json")
    assert (made.library, made.targets, made.checked) == ("tensorrt_rtx", ("sm89", "sm120"), False)
    layers = json.loads((tmp_path / "a.engine.layers.json").read_text())["Layers"]
    assert sum("[ONNX Layer: " in layer["Metadata"] for layer in layers) >= 2


@pytest.mark.parametrize(
    ("targets", "checked"), [(["sm89"], True), (["portable"], True), (["sm120"], False)]
)
def test_an_engine_is_checked_where_its_gpu_is(
    targets: list[str],
    checked: bool,
    network: nn.Module,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "net.engine"
    monkeypatch.setattr(engine, "_here", lambda *_: Loader(exported))
    difference = export_engine(network, exported, path, images=IMAGES, targets=targets)
    assert (difference is not None and difference < 1e-5) == checked
    assert load_json(Origin, tmp_path / "net.engine.json").checked is checked


def test_an_engine_for_targets_that_answers_otherwise_is_not_written(
    network: nn.Module, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_here", lambda *_: Loader(exported))
    changed = off_by(network, 1.5)
    with pytest.raises(CheckFailed, match=r"engine's outputs .* net\.engine was not written"):
        export_engine(changed, exported, tmp_path / "net.engine", images=IMAGES, targets=["sm89"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_the_library_knows_is_used_for_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert engine._here("float32", BuildOptions()) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: Loader.here.device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    found = engine._here("float16", BuildOptions())
    assert found is not None
    assert (found.here, found.dtype) == (Loader.here, "float16")


def test_what_an_engine_is_built_by_is_asked_for_once(
    network: nn.Module, exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.engine"
    for given in ({}, {"runtime": Builder("float32"), "targets": ["sm89"]}):
        with pytest.raises(UsageError, match="by a runtime or for targets; give one of the two"):
            export_engine(network, exported, path, images=IMAGES, **given)
    with pytest.raises(UsageError, match="dtype 'int8' is unknown to TensorRT; known: float32"):
        export_engine(network, exported, path, images=IMAGES, targets=["sm89"], dtype="int8")
