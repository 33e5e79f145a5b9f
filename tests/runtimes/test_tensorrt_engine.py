"""How engines are built and loaded, with a TensorRT that only writes down what it is asked."""

import importlib
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from depthopt.core.artefacts import load_json
from depthopt.errors import ArtefactError, ModelError
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.network import Network
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin

HERE = Origin("NVIDIA H100 80GB HBM3", "9.0", "11.4.0.106")
MODULES = ("engine", "log", "profiler")


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
        told = {"node_operator": "Abacus", "node_name": "abacus_0", "desc": "no importer\n for it"}
        return SimpleNamespace(**{name: lambda text=text: text for name, text in told.items()})


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
    """The module, and ours that import it."""
    severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3)
    module = SimpleNamespace(
        ILogger=type("ILogger", (Logger,), {"Severity": severity}),
        IProfiler=Logger,
        OnnxParser=Parser,
        BuilderFlag=SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"),
        LayerInformationFormat=SimpleNamespace(JSON="JSON"),
        ICudaEngine=object,
        IBuilderConfig=Config,
    )
    module.Builder = type("Builder", (Builder,), {"trt": module})
    module.Runtime = type("Runtime", (Runtime,), {"trt": module})
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, f"depthopt.runtimes.tensorrt.{name}", raising=False)
    yield module
    for name in MODULES:
        sys.modules.pop(f"depthopt.runtimes.tensorrt.{name}", None)


@pytest.fixture
def build(trt, tmp_path):  # noqa: ARG001 - it has to be there to be imported
    engine = importlib.import_module("depthopt.runtimes.tensorrt.engine")
    log = importlib.import_module("depthopt.runtimes.tensorrt.log").Log()

    def built(content, dtype="float32", here=HERE, **options):
        cache = tmp_path / "shared.timing"
        chosen = BuildOptions(**options)
        return engine.build_plan(content, dtype, chosen, cache=cache, here=here, log=log)

    return built


@pytest.fixture
def load(trt):  # noqa: ARG001 - likewise
    engine = importlib.import_module("depthopt.runtimes.tensorrt.engine")
    log = importlib.import_module("depthopt.runtimes.tensorrt.log").Log()
    return lambda plan: engine.information(engine.load_plan(plan, here=HERE, log=log))


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
    assert load_json(Origin, tmp_path / "shared.timing.json") == HERE


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
    with pytest.raises(ModelError, match=r"^Abacus abacus_0: no importer for it$"):
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


@pytest.mark.usefixtures("trt")
def test_layer_times_are_taken_run_by_run():
    reports = importlib.import_module("depthopt.runtimes.tensorrt.profiler").Reports()
    reports.report_layer_time("conv", 1.5)
    reports.report_layer_time("add", 0.5)
    assert reports.take() == [("conv", 1.5), ("add", 0.5)]
    assert reports.take() == []


@pytest.mark.usefixtures("trt")
def test_an_engines_file_has_its_origin_and_its_layers_beside_it(monkeypatch, tmp_path):
    module = importlib.import_module("depthopt.runtimes.tensorrt.runtime")
    monkeypatch.setattr(module, "_here", lambda: HERE)
    monkeypatch.setattr(
        module, "read", lambda *_: Network(b"onnx", {"x": (1, 3)}, {"x": "float32"}, {})
    )
    build = BuildOptions(version_compatible=True, timing_cache=tmp_path / "shared.timing")
    path = tmp_path / "network.engine"
    module.TensorRt(build=build).save_engine(b"", path)
    assert path.read_bytes() == b"plan of onnx"
    made = load_json(Origin, tmp_path / "network.engine.json")
    assert made == replace(HERE, version_compatible=True)
    assert json.loads((tmp_path / "network.engine.layers.json").read_text()) == {"Layers": []}
