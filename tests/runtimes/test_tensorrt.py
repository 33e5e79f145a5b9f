"""What needs a GPU, and TensorRT or TensorRT for RTX: pytest -m tensorrt."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.operators import Activation, Convolution
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable
from depthopt.latency.bench import Bench
from depthopt.latency.graphs.builder import GraphBuilder
from depthopt.latency.graphs.edges import tap
from depthopt.latency.graphs.entry import add_entry
from depthopt.runtimes.base import random_inputs
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt import files
from depthopt.runtimes.tensorrt.ahead import build_ahead, made_ahead
from depthopt.runtimes.tensorrt.library import LIBRARIES, TENSORRT
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

pytestmark = pytest.mark.tensorrt

RELU6 = Activation("relu6")
KEY = LatencyKey(Convolution(32, 32, (3, 3), padding=(1, 1, 1, 1)), (28, 28), RELU6, residual=True)

CHAINED = LatencyKey(Convolution(128, 128, (3, 3), padding=(1, 1, 1, 1)), (56, 56), RELU6)
LAYERS = 16


def chained(batch):
    """A network of one convolution many times over, each reading the one before."""
    builder = GraphBuilder(batch)
    y = builder.input("x", 128, (56, 56))
    for _ in range(LAYERS):
        y = add_entry(builder, CHAINED, y, None)
    builder.output(tap(builder, y, 128, (56, 56)))
    return builder.serialise()


ALONE = "of TensorRT alone"
"""Why a test skips TensorRT for RTX."""

_chosen = {"name": "tensorrt"}
"""Of the library that the test under way uses."""


@pytest.fixture(autouse=True, params=LIBRARIES)
def library(request, tmp_path, monkeypatch):
    monkeypatch.setitem(_chosen, "name", request.param)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        tensorrt()
    except RuntimeUnavailable as reason:
        pytest.skip(str(reason))
    return LIBRARIES[request.param]


@pytest.fixture
def full(library):
    """TensorRT, whose builds have more settings."""
    if library is not TENSORRT:
        pytest.skip(ALONE)


def tensorrt(dtype="float32", **build):
    return get_runtime(_chosen["name"], device="cuda", dtype=dtype, build=BuildOptions(**build))


def outputs(runtime, model):
    session = runtime.compile(model)
    inputs = random_inputs(session, 2)
    return session.run(inputs)[0].copy()


def error(dtype, **build):
    """Largest difference from ONNX Runtime's float32, relative to the largest output."""
    model = single_graph(KEY, batch=2)
    exact = outputs(get_runtime("onnxruntime"), model)
    return float(np.abs(outputs(tensorrt(dtype, **build), model) - exact).max() / exact.max())


def test_conditions_name_the_gpu_and_the_version(library):
    conditions = tensorrt("float16").conditions(8)
    assert conditions.device == torch.cuda.get_device_name()
    assert (conditions.runtime, conditions.dtype, conditions.batch) == (library.name, "float16", 8)
    assert (conditions.threads, conditions.clock_mhz) == (None, None)
    assert conditions.runtime_version[0].isdecimal()
    assert tensorrt(workspace_mib=64).version == f"{conditions.runtime_version}+workspace64"


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("tf32", 5e-3), ("float16", 1e-2)])
def test_every_dtype_is_as_exact_as_it_can_be(dtype, most):
    assert error(dtype) < most


def test_float16_is_not_float32():
    assert error("float16") > 1e-5


@pytest.mark.usefixtures("full")
def test_build_options_are_taken():
    assert error("float32", optimization_level=1, workspace_mib=256) < 1e-5


@pytest.mark.usefixtures("full")
def test_all_builds_share_one_timing_cache_on_file(tmp_path):
    path = tmp_path / "shared.timing"
    tensorrt(timing_cache=path).compile(single_graph(KEY))
    first = path.read_bytes()
    assert first
    assert load_json(Origin, tmp_path / "shared.timing.json").device == torch.cuda.get_device_name()
    other = LatencyKey(Convolution(64, 48, (5, 5)), (14, 14))
    tensorrt(timing_cache=path).compile(single_graph(other))
    assert len(path.read_bytes()) > len(first)
    tensorrt().compile(single_graph(KEY))
    assert len(list((tmp_path / "cache" / "depthopt" / "tensorrt").glob("*.timing"))) == 1


@pytest.mark.usefixtures("full")
def test_a_timing_cache_of_another_device_is_refused_with_both_named(tmp_path):
    path = tmp_path / "shared.timing"
    tensorrt(timing_cache=path).compile(single_graph(KEY))
    save_json(Origin("NVIDIA GeForce 256", "0.1", "10.12.0.36"), tmp_path / "shared.timing.json")
    with pytest.raises(ArtefactError, match=r"GeForce 256.*this is .*remove this one"):
        tensorrt(timing_cache=path).compile(single_graph(KEY))


@pytest.mark.usefixtures("full")
def test_a_timing_cache_that_is_none_is_refused(tmp_path):
    path = tmp_path / "damaged.timing"
    path.write_bytes(b"no timing cache" * 100)
    with pytest.raises(ArtefactError, match=r"damaged\.timing is not one of this device"):
        tensorrt(timing_cache=path).compile(single_graph(KEY))


def test_kernels_are_kept_from_process_to_process(library, tmp_path):
    if library is TENSORRT:
        pytest.skip("its engines hold their kernels")
    found = outputs(tensorrt(), single_graph(KEY, batch=2))
    (path,) = (tmp_path / "cache" / "depthopt" / "tensorrt").glob("*.runtime")
    kept = path.read_bytes()
    assert kept
    np.testing.assert_array_equal(outputs(tensorrt(), single_graph(KEY, batch=2)), found)
    path.write_bytes(kept[:-1])
    with pytest.raises(ArtefactError, match=r"the runtime cache .* is not the file that was noted"):
        outputs(tensorrt(), single_graph(KEY, batch=2))


def test_kernels_that_no_graph_captures_run_one_by_one(monkeypatch, caplog):
    model = single_graph(KEY, batch=2)
    wanted = outputs(tensorrt(), model)

    def failing(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", failing)
    session = tensorrt().compile(model)
    inputs = random_inputs(session, 2)
    np.testing.assert_allclose(session.run(inputs)[0], wanted, rtol=1e-4, atol=1e-5)
    assert session.device_ms(inputs, runs=3) > 0
    assert caplog.text.count("the engine cannot run as a CUDA graph") == 1


@pytest.mark.parametrize("targets", ["here", ["portable"]])
def test_engines_built_ahead_run_where_their_gpu_is(library, tmp_path, caplog, targets):
    if library is TENSORRT:
        pytest.skip("it builds for the GPU that is here")
    runtime, path, model = tensorrt(), tmp_path / "network.engine", single_graph(KEY, batch=2)
    if targets == "here":
        targets = [f"sm{runtime.here.capability.replace('.', '')}"]
    found = build_ahead(model, targets=targets)
    files.save(path, found.plan, found.information, made_ahead(targets, checked=False))
    session = runtime.load_engine(path)
    assert "its outputs were not compared" in caplog.text
    got = session.run(random_inputs(session, 2))[0]
    np.testing.assert_allclose(got, outputs(runtime, model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version_compatible", [False, True])
def test_engines_come_back_from_their_files(tmp_path, version_compatible, library):
    if version_compatible and library is not TENSORRT:
        pytest.skip(ALONE)
    path = tmp_path / "network.engine"
    runtime = tensorrt(version_compatible=version_compatible)
    model = single_graph(KEY, batch=2)
    runtime.save_engine(model, path)
    assert json.loads((tmp_path / "network.engine.layers.json").read_text())["Layers"]
    session = tensorrt().load_engine(path)
    assert session.input_shapes == {"x": (2, 32, 28, 28), "residual": (2, 32, 28, 28)}
    found = session.run(random_inputs(session, 2))[0]
    np.testing.assert_allclose(found, outputs(runtime, model), rtol=1e-4, atol=1e-5)


def test_engines_of_another_gpu_or_version_are_refused_with_both_named(tmp_path):
    path = tmp_path / "network.engine"
    runtime = tensorrt()
    runtime.save_engine(single_graph(KEY), path)
    beside = Path(f"{path}.json")
    here = load_json(Origin, beside)
    save_json(replace(here, device="NVIDIA GeForce 256", capability="0.1"), beside)
    with pytest.raises(ArtefactError, match=r"GeForce 256.*0\.1.*this is .*build it again"):
        runtime.load_engine(path)
    save_json(replace(here, tensorrt="0.9.0"), beside)
    with pytest.raises(ArtefactError, match=rf"0\.9\.0, and this is .*{here.tensorrt}"):
        runtime.load_engine(path)


def test_what_is_no_engine_is_refused(tmp_path):
    path = tmp_path / "network.engine"
    with pytest.raises(ArtefactError, match="does not exist"):
        tensorrt().load_engine(path)
    path.write_bytes(b"no engine" * 100)
    with pytest.raises(ArtefactError, match=r"network\.engine cannot be loaded"):
        tensorrt().load_engine(path)


def test_a_build_without_memory_names_the_workspace_setting():
    big = LatencyKey(Convolution(4096, 4096, (3, 3), padding=(1, 1, 1, 1)), (512, 512))
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(int(0.97 * free), dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises(ModelError, match=r"latency\.build\.workspace_mib|latency\.batch"):
            tensorrt().compile(single_graph(big, batch=16))
    finally:
        del held
        torch.cuda.empty_cache()


def test_graphs_replay_on_new_inputs():
    runtime = tensorrt()
    session = runtime.compile(single_graph(KEY, batch=2))
    reference = get_runtime("onnxruntime").compile(single_graph(KEY, batch=2))
    for seed in range(3):
        inputs = random_inputs(session, 2, seed)
        for _ in range(2):
            found = session.run(inputs)[0]
        np.testing.assert_allclose(found, reference.run(inputs)[0], rtol=1e-4, atol=1e-4)


def test_sessions_run_in_turn_though_they_share_their_scratch():
    runtime = tensorrt()
    models = [single_graph(KEY, batch=batch) for batch in (1, 16, 4)]
    sessions = [runtime.compile(model) for model in models]
    inputs = [random_inputs(session, 1) for session in sessions]
    first = [s.run(i)[0].copy() for s, i in zip(sessions, inputs, strict=True)]
    again = [s.run(i)[0].copy() for s, i in zip(sessions, inputs, strict=True)]
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_device_memory_is_given_back_with_the_sessions():
    runtime = tensorrt()
    before = torch.cuda.memory_allocated()
    session = runtime.compile(chained(batch=8))
    session.run(random_inputs(session, 8))
    assert torch.cuda.memory_allocated() > before
    del session
    gc.collect()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.timed
def test_the_hosts_clock_and_the_devices_agree_on_what_takes_long():
    from depthopt.latency.measure import Effort, time_in_turn

    session = tensorrt().compile(chained(batch=64))
    inputs = random_inputs(session, 64)
    device_ms = session.device_ms(inputs, runs=50)
    host = time_in_turn({"all": lambda: session.run(inputs)}, effort=Effort(seconds=3))["all"]
    assert host.median_ms == pytest.approx(device_ms, rel=0.15)


def test_layers_carry_the_operators_that_they_were_made_of():
    runtime = tensorrt("float16")
    model = chained(batch=8)
    inputs = random_inputs(runtime.compile(model), 8)
    layers = runtime.layer_times(model, inputs, runs=5)
    assert sum("Conv" in layer.operator for layer in layers) >= LAYERS
    assert len(runtime.information(model)["Layers"]) >= LAYERS


@pytest.mark.timed
def test_entries_are_measured_beside_a_network():
    bench = Bench(tensorrt("float16"), chained(batch=64), batch=64, entry_seconds=1.0)
    group = bench.measure([CHAINED])
    assert not group.failed
    share = float(np.median(group.ratios[CHAINED]))
    assert 0.6 < LAYERS * share < 1.4, "the network is so many of it and little else"
    assert np.median(group.call_ms) < np.median(group.network_ms)


def test_weights_in_a_file_of_their_own_are_read(tmp_path):
    model = onnx.load_from_string(single_graph(KEY, batch=2))
    path = tmp_path / "network.onnx"
    onnx.save_model(model, path, save_as_external_data=True, size_threshold=0)
    found = outputs(tensorrt(), path)
    np.testing.assert_allclose(found, outputs(tensorrt(), single_graph(KEY, batch=2)), atol=1e-5)
