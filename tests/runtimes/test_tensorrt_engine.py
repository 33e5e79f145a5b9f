"""How TensorRT is asked for engines, with a TensorRT that only writes down what it is asked.

What TensorRT for RTX really builds is in ``test_ahead.py``.
"""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from depthopt.core import digests
from depthopt.core.artefacts import load_json
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.runtimes.tensorrt import driver, engine, origin, runtime
from depthopt.runtimes.tensorrt.library import TENSORRT, TENSORRT_RTX
from depthopt.runtimes.tensorrt.network import Network
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.profiler import Reports, profiler

HERE = Origin("NVIDIA H100 80GB HBM3", "9.0", "11.4.0.106")


class Logger:
    def __init__(self):
        pass


class Config:
    """What a build was asked for."""

    def __init__(self, trt):
        self.trt, self.flags, self.pools, self.cache = trt, {"TF32"}, {}, None

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        self.pools[pool] = pool_size

    def create_timing_cache(self, content):
        return None if content.startswith(b"damaged") else SimpleNamespace(content=content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return not ignore_mismatch and b"elsewhere" not in cache.content

    def get_timing_cache(self):
        return SimpleNamespace(serialize=lambda: self.cache.content + b"timed;")


class Builder:
    """Builds what starts with ``onnx``, and logs as TensorRT does where it cannot."""

    def __init__(self, log):
        self.log = log

    def create_network(self, flags):
        assert flags == 1 << 1
        return SimpleNamespace(content=b"")

    def create_builder_config(self):
        self.trt.config = Config(self.trt)
        return self.trt.config

    def build_serialized_network(self, network, _config):
        if b"huge" in network.content:
            self.log.log(self.trt.ILogger.Severity.ERROR, "Error Code 2:\n OutOfMemory")
            self.log.log(self.trt.ILogger.Severity.WARNING, "something else")
            return None
        return b"plan of " + network.content


class Parser:
    def __init__(self, network, _log):
        self.network, self.num_errors = network, 0

    def parse(self, content):
        self.network.content = content
        self.num_errors = 0 if content.startswith(b"onnx") else 1
        return not self.num_errors

    def get_error(self, _index):
        code = SimpleNamespace(name="UNSUPPORTED_NODE")
        told = {"node_operator": "Abacus", "node_name": "abacus_0", "desc": "no importer\n for it"}
        told = {name: lambda text=text: text for name, text in told.items()}
        return SimpleNamespace(code=lambda: code, **told)


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, log):
        self.log = log

    def deserialize_cuda_engine(self, plan):
        assert self.engine_host_code_allowed
        if plan.startswith(b"plan"):
            inspector = SimpleNamespace(get_engine_information=lambda _: '{"Layers": []}')
            return SimpleNamespace(create_engine_inspector=lambda: inspector)
        told = "on an incompatible device, expecting compute 9.0 got compute 8.6, please rebuild."
        self.log.log(self.trt.ILogger.Severity.ERROR, told)
        return None


@pytest.fixture
def trt(monkeypatch):
    """The module, with a driver that it can load engines on."""
    severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)
    module = SimpleNamespace(
        __version__="11.4.0.106",
        ILogger=type("ILogger", (Logger,), {"Severity": severity}),
        IProfiler=Logger,
        OnnxParser=Parser,
        BuilderFlag=SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"),
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
    )
    module.Builder = type("Builder", (Builder,), {"trt": module})
    module.Runtime = type("Runtime", (Runtime,), {"trt": module})
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(engine, "missing_driver", lambda: None)
    return module


@pytest.fixture
def build(trt, tmp_path):  # noqa: ARG001 - it has to be there to be imported
    def built(content, dtype="float32", here=HERE, **options):
        cache, chosen = tmp_path / "shared.timing", BuildOptions(**options)
        return engine.build_engine(TENSORRT, content, dtype, chosen, cache=cache, here=here).plan

    return built


@pytest.fixture
def load(trt):
    return lambda plan: engine.information(trt, engine.load_plan(TENSORRT, plan, here=HERE))


def test_settings_reach_the_builder(trt, build):
    assert build(b"onnx") == b"plan of onnx"
    config = trt.config
    assert (config.flags, config.pools) == (set(), {})
    assert (config.builder_optimization_level, config.max_aux_streams) == (3, 0)
    assert config.profiling_verbosity == "DETAILED"
    build(b"onnx", "tf32", optimization_level=5, workspace_mib=3, version_compatible=True)
    assert trt.config.flags == {"TF32", "VERSION_COMPATIBLE"}
    assert trt.config.pools == {"WORKSPACE": 3 * 2**20}
    assert trt.config.builder_optimization_level == 5
    build(b"onnx", "float16")
    assert trt.config.flags == set()


def test_the_timing_cache_grows_from_build_to_build(build, tmp_path):
    path = tmp_path / "shared.timing"
    for _ in range(2):
        build(b"onnx")
    assert path.read_bytes() == b"timed;timed;"
    first, second = (digests.of_bytes(text) for text in (b"timed;", b"timed;timed;"))
    noted = load_json(Origin, tmp_path / "shared.timing.json")
    assert noted == replace(HERE, files=(first, second))


def test_a_timing_cache_of_another_device_is_left_as_it_is(build, tmp_path):
    path = tmp_path / "shared.timing"
    path.write_bytes(b"timed;")
    origin.note(path, Origin("NVIDIA A100", "8.0", "11.4.0.106"))
    with pytest.raises(ArtefactError, match=r"shared\.timing was made on NVIDIA A100.*H100.*name"):
        build(b"onnx")
    assert path.read_bytes() == b"timed;"


@pytest.mark.parametrize("content", [b"elsewhere", b"damaged"])
def test_a_timing_cache_that_tensorrt_refuses_is_told(build, tmp_path, content):
    (tmp_path / "shared.timing").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"not one of this device and version \(NVIDIA H100"):
        build(b"onnx")


def test_what_cannot_be_built_is_told_in_one_line(build, tmp_path):
    with pytest.raises(
        ModelError, match=r"^UNSUPPORTED_NODE: Abacus abacus_0 \(no importer for it\)$"
    ):
        build(b"no model")
    with pytest.raises(ModelError, match=r"OutOfMemory\); no workspace limit is set"):
        build(b"onnx huge")
    with pytest.raises(ModelError, match=r"latency\.build\.workspace_mib is 64"):
        build(b"onnx huge", workspace_mib=64)
    assert not (tmp_path / "shared.timing").exists()


def test_engines_are_loaded_and_inspected_or_refused(load):
    assert load(b"plan") == json.loads('{"Layers": []}')
    with pytest.raises(ArtefactError, match=r"for compute capability 8\.6, and this is NVIDIA H10"):
        load(b"of another GPU")


def test_no_engine_is_loaded_without_a_driver_where_that_ends_the_process(trt, monkeypatch):
    monkeypatch.setattr(engine, "missing_driver", lambda: "no driver; load it elsewhere")
    monkeypatch.setattr(trt, "Runtime", lambda _: pytest.fail("the library was asked"))
    with pytest.raises(
        RuntimeUnavailable, match="TensorRT cannot load engines here: no driver; load"
    ):
        engine.load_plan(TENSORRT, b"plan", here=HERE)


@pytest.mark.parametrize(("status", "told"), [(0, None), (100, "sees no GPU .cuInit gave 100")])
def test_a_driver_is_one_that_sees_a_gpu(monkeypatch, status, told):
    found = SimpleNamespace(cuInit=lambda _flags: status)
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda _name: found)
    reason = driver.missing_driver()
    assert reason is None if told is None else "cuInit gave 100" in reason


def test_a_missing_driver_is_told_by_its_file(monkeypatch):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(driver.ctypes, "CDLL", absent)
    assert "no NVIDIA driver (libcuda" in driver.missing_driver()


def test_layer_times_are_taken_run_by_run(trt):
    reports = Reports()
    called = profiler(trt, reports)
    called.report_layer_time("conv", 1.5)
    called.report_layer_time("add", 0.5)
    assert reports.take() == [("conv", 1.5), ("add", 0.5)]
    assert reports.take() == []


@pytest.fixture
def on_gpu(trt, monkeypatch):  # noqa: ARG001 - likewise
    """A runtime on a GPU that there is not, for a network that says only ``onnx``."""
    network = Network(b"onnx", {"x": (1, 3)}, {"x": "float32"}, {})
    monkeypatch.setattr(runtime, "_here", lambda _: HERE)
    monkeypatch.setattr(runtime, "read", lambda *_: network)
    return runtime.TensorRt


def test_an_engines_file_has_its_origin_and_its_layers_beside_it(on_gpu, tmp_path):
    build = BuildOptions(version_compatible=True, timing_cache=tmp_path / "shared.timing")
    path = tmp_path / "network.engine"
    on_gpu(build=build).save_engine(b"", path, checked=True)
    assert path.read_bytes() == b"plan of onnx"
    made = load_json(Origin, tmp_path / "network.engine.json")
    files = (digests.of_file(path),)
    assert made == replace(HERE, version_compatible=True, checked=True, files=files)
    assert json.loads((tmp_path / "network.engine.layers.json").read_text()) == {"Layers": []}


def test_an_engine_that_cannot_be_inspected_leaves_no_file(on_gpu, tmp_path, monkeypatch):
    def failing(*_):
        raise ModelError("no inspector")

    monkeypatch.setattr(engine, "information", failing)
    found = on_gpu(build=BuildOptions(timing_cache=tmp_path / "cache" / "shared.timing"))
    with pytest.raises(ModelError, match="no inspector"):
        found.save_engine(b"", tmp_path / "network.engine")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_an_engine_that_was_exchanged_or_is_for_another_library_is_refused(on_gpu, tmp_path):
    path = tmp_path / "network.engine"
    found = on_gpu(build=BuildOptions(timing_cache=tmp_path / "shared.timing"))
    found.save_engine(b"", path)
    path.write_bytes(b"plan of another")
    with pytest.raises(ArtefactError, match=r"network\.engine is not the file that was noted in"):
        found.load_engine(path)
    origin.note(path, replace(HERE, library=TENSORRT_RTX.name, tensorrt="1.7.1.116"))
    with pytest.raises(ArtefactError, match=r"RTX 1\.7\.1\.116, and this is .*TensorRT 11\.4"):
        found.load_engine(path)


def test_a_runtime_keeps_what_its_library_keeps(on_gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    full, rtx = on_gpu(), on_gpu(library=TENSORRT_RTX)
    assert (full.name, full._runtime_cache) == ("tensorrt", None)
    assert rtx.name == "tensorrt_rtx"
    assert rtx._runtime_cache.path.suffix == ".runtime"
    assert full.timing_cache.parent == rtx._runtime_cache.path.parent
