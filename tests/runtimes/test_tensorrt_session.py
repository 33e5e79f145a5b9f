"""What of running an engine needs no GPU: where it runs, what is kept, and how inputs are bound."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depthopt.core.operators import Convolution
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt import engine
from depthopt.runtimes.tensorrt import session as session_module
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.runtime import TensorRt
from depthopt.runtimes.tensorrt.runtime_cache import RuntimeCache
from depthopt.runtimes.tensorrt.session import TensorRtSession
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

rtx = pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")

HERE = Origin("NVIDIA GeForce RTX 4090", "8.9", rtx.__version__, library="tensorrt_rtx")


def on(monkeypatch: pytest.MonkeyPatch, device: str, capability: tuple[int, int]) -> None:
    """Let torch see a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


def test_a_runtime_says_what_it_measures_on(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "NVIDIA GeForce RTX 4090", (8, 9))
    runtime = get_runtime("tensorrt_rtx", device="cuda", dtype="float16")
    conditions = runtime.conditions(8)
    assert (conditions.device, conditions.dtype) == ("NVIDIA GeForce RTX 4090", "float16")
    assert (conditions.runtime, conditions.runtime_version) == ("tensorrt_rtx", rtx.__version__)
    assert (conditions.batch, conditions.threads, conditions.clock_mhz) == (8, None, None)


def test_a_gpu_that_the_library_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "NVIDIA H100 80GB HBM3", (9, 0))
    with pytest.raises(RuntimeUnavailable, match=r"compute capability 9\.0 of this NVID"):
        get_runtime("tensorrt_rtx", device="cuda")


class Kernels:
    """A library's runtime cache: the kernels compiled so far."""

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, content: bytes) -> bool:
        self.content = content
        return not content.startswith(b"of another")

    def serialize(self) -> bytes:
        return self.content + b"kernel;"


class Engine:
    """Compiles one kernel for each context."""

    def create_runtime_config(self) -> SimpleNamespace:
        return SimpleNamespace(
            create_runtime_cache=Kernels,
            set_execution_context_allocation_strategy=lambda _: None,
            set_runtime_cache=lambda _: True,
        )

    def create_execution_context(self, config: SimpleNamespace) -> str:
        assert config.create_runtime_cache is Kernels
        return "context"


def test_kernels_are_kept_and_those_that_were_changed_are_refused(tmp_path: Path) -> None:
    cache = RuntimeCache(tmp_path / "gpu.runtime", HERE)
    for _ in range(2):
        assert cache.context(rtx, Engine()) == "context"
    assert cache.path.read_bytes() == b"kernel;kernel;"
    cache.path.write_bytes(b"kernel;")  # as a process leaves it that is killed in writing
    cache.context(rtx, Engine())
    cache.path.write_bytes(b"kernel;damage")
    with pytest.raises(ArtefactError, match=r"gpu\.runtime is not the file that was noted.*remove"):
        cache.context(rtx, Engine())
    assert cache.path.read_bytes() == b"kernel;damage"
    other = RuntimeCache(tmp_path / "other.runtime", HERE)
    other.path.write_bytes(b"of another GPU")
    with pytest.raises(
        ArtefactError, match=r"other\.runtime is not one of this device and version"
    ):
        other.context(rtx, Engine())


class Execution:
    """Twice its input, on the processor."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.inputs = {"x": torch.zeros(shape)}

    def run(self) -> list[np.ndarray]:
        if self.inputs["x"].isnan().any():
            raise RuntimeError("CUDA error:\n an illegal access")
        return [2 * self.inputs["x"].numpy()]

    def device_ms(self, runs: int) -> float:
        return float(runs)

    def profiled(self, runs: int) -> list[list[tuple[str, float]]]:
        return [[("conv", 1.0)]] * runs


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> TensorRtSession:
    """Of a network whose batch is free."""
    waits = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: waits)
    return TensorRtSession({"x": (None, 3)}, {"x": "float32"}, lambda s: Execution(s["x"]))


def test_inputs_are_copied_once_for_each_mapping(session: TensorRtSession) -> None:
    first = random_inputs(session, 2)
    np.testing.assert_array_equal(session.run(first)[0], 2 * first["x"])
    np.testing.assert_array_equal(session.run(first)[0], 2 * first["x"])
    other = random_inputs(session, 5, seed=1)
    np.testing.assert_array_equal(session.run(other)[0], 2 * other["x"])
    assert session.device_ms(first, runs=7) == 7.0
    assert len(session.profiled(first, runs=3)) == 3


def test_wrong_inputs_and_failing_engines_are_told_in_one_line(session: TensorRtSession) -> None:
    with pytest.raises(ModelError, match=r"input x has shape \[2, 4\], expected \[None, 3\]"):
        session.run({"x": np.zeros((2, 4), np.float32)})
    with pytest.raises(ModelError, match=r"cannot run the model: CUDA error: an illegal access$"):
        session.run({"x": np.full((1, 3), np.nan, np.float32)})


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> TensorRt:
    """On a GPU that there is not: what it builds is real, what it loads is ``Execution``."""
    on(monkeypatch, "NVIDIA GeForce RTX 4090", (8, 9))
    waits = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: waits)
    built = partial(engine.build_engine, targets=("sm89",))
    monkeypatch.setattr(engine, "build_engine", built)
    monkeypatch.setattr(TensorRt, "_loaded", lambda *_: Execution((2, 16, 1, 1)))
    layers = {"Layers": [{"Name": "conv", "LayerType": "x", "Metadata": "[ONNX Layer: conv_0]"}]}
    monkeypatch.setattr(TensorRt, "_information", lambda *_: layers)
    found = get_runtime("tensorrt_rtx", device="cuda")
    assert isinstance(found, TensorRt)
    return found


POINTWISE = single_graph(LatencyKey(Convolution(16, 16, (1, 1)), (1, 1)), batch=2)


def test_a_network_is_built_once_and_loaded_for_each_session(runtime: TensorRt) -> None:
    session = runtime.compile(POINTWISE)
    assert session.input_shapes == {"x": (2, 16, 1, 1)}
    assert runtime.information(POINTWISE)["Layers"]
    inputs = random_inputs(session, 2)
    np.testing.assert_array_equal(session.run(inputs)[0], 2 * inputs["x"])
    assert len(runtime._plans._plans) == 1
    (layer,) = runtime.layer_times(POINTWISE, {"x": np.zeros((2, 16, 1, 1), np.float32)}, runs=2)
    assert (layer.name, layer.operator, layer.median_ms) == ("conv", "Conv", 1.0)


def test_an_engine_of_a_file_has_its_own_shapes(runtime: TensorRt, tmp_path: Path) -> None:
    path = tmp_path / "network.engine"
    runtime.save_engine(POINTWISE, path, checked=True)
    assert runtime.load_engine(path).input_shapes == {"x": (2, 16, 1, 1)}
    assert runtime.load_engine(path).input_dtypes == {"x": "float32"}


def test_what_cannot_run_is_told_with_the_library_and_the_file(
    runtime: TensorRt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"^tensorrt_rtx 1\..* cannot run .*damaged\.onnx: "):
        runtime.compile(path)

    def failing(*_: object) -> None:
        raise ArtefactError("no kernel")

    engines = tmp_path / "network.engine"
    runtime.save_engine(POINTWISE, engines)
    monkeypatch.setattr(TensorRt, "_loaded", failing)
    with pytest.raises(ModelError, match=r"does not load \(no kernel\); lower latency\.batch if"):
        runtime.compile(POINTWISE)
    with pytest.raises(ArtefactError, match=r"network\.engine cannot be loaded: no kernel"):
        runtime.load_engine(engines)


def test_numbers_have_the_same_names_on_both_sides() -> None:
    assert set(session_module._dtypes(rtx).values()) == {
        torch.float32,
        torch.float16,
        torch.int32,
        torch.int64,
    }
