"""Engines that TensorRT for RTX really builds, on a machine that needs no GPU."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from depthopt.core.artefacts import load_json
from depthopt.core.operators import Activation, Convolution
from depthopt.errors import ArtefactError, ModelError, RuntimeUnavailable, UsageError
from depthopt.runtimes.tensorrt import driver, engine, files
from depthopt.runtimes.tensorrt.ahead import build_ahead, made_ahead
from depthopt.runtimes.tensorrt.built import built
from depthopt.runtimes.tensorrt.library import TENSORRT, TENSORRT_RTX
from depthopt.runtimes.tensorrt.log import Told, listened, listener
from depthopt.runtimes.tensorrt.options import DTYPES, BuildOptions
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.profiler import Reports, profiler
from depthopt.runtimes.tensorrt.targets import capability_of, parsed
from depthopt.tables.latency import LatencyKey
from tests.runtimes.test_conformance import KEYS
from tests.single_graph import single_graph

rtx = pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")

SAME = Convolution(32, 32, (3, 3), padding=(1, 1, 1, 1))
KEY = LatencyKey(SAME, (14, 14), Activation("relu6"), residual=True)
MODEL = single_graph(KEY)
RTX_4090 = Origin("NVIDIA GeForce RTX 4090", "8.9", rtx.__version__, library="tensorrt_rtx")


def determinant() -> bytes:
    """A network of one operator that the library does not have."""
    node = helper.make_node("Det", ["x"], ["y"], name="det_7")
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in _SHAPES.items()]
    graph = helper.make_graph([node], "one", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


_SHAPES = {"x": [1, 3, 3], "y": [1]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_is_one_kernel_in_every_dtype(dtype: str) -> None:
    found = build_ahead(MODEL, targets=["sm89"], dtype=dtype)
    held = [set(layer.nodes) for layer in found.layers if layer.kind == "correlation"]
    assert held == [{"conv_0", "add_1", "clip_2"}]
    assert json.loads(json.dumps(found.information))["Layers"][0]["Name"]


@pytest.mark.parametrize("targets", [["sm89", "sm120"], ["portable"]])
def test_the_same_engine_is_built_again_to_the_byte(targets: list[str]) -> None:
    first, second = (build_ahead(MODEL, targets=targets).plan for _ in range(2))
    assert first == second != build_ahead(MODEL, targets=["sm80"]).plan


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_operator_builds(key: LatencyKey) -> None:
    assert build_ahead(single_graph(key, batch=2), targets=["sm89"]).plan


def test_targets_are_those_that_the_library_has() -> None:
    known = {name.lower() for name in rtx.ComputeCapability.__members__} - {"none", "current"}
    assert set(TENSORRT_RTX.targets) == known
    for target in TENSORRT_RTX.targets:
        assert build_ahead(MODEL, targets=[target], dtype="float16").plan
    assert list(map(capability_of, TENSORRT_RTX.targets[-3:])) == ["8.9", "12.0", "12.1"]
    assert parsed(["SM120", "sm89"], TENSORRT_RTX) == ("sm89", "sm120")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["sm90"], r"cannot build for target 'sm90'; known: sm75, .*, sm121, or portable alone"),
        (["sm89", "SM89"], "target sm89 is given twice"),
        (["portable", "sm89"], "expected targets, or portable alone"),
        ([], "expected targets, or portable alone"),
    ],
)
def test_targets_that_there_are_not_are_refused(targets: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_ahead(MODEL, targets=targets)


@pytest.mark.parametrize(
    ("name", "value"),
    [("optimization_level", 5), ("version_compatible", True), ("timing_cache", Path("a.timing"))],
)
def test_settings_that_the_library_lacks_are_refused_by_name(name: str, value: object) -> None:
    TENSORRT.require(BuildOptions(**{name: value}))
    with pytest.raises(UsageError, match=rf"latency\.build\.{name} is .*RTX has no such setting"):
        build_ahead(MODEL, targets=["sm89"], build=BuildOptions(**{name: value}))


def test_what_cannot_be_built_is_told_with_its_cause() -> None:
    with pytest.raises(ModelError, match=r"tensorrt_rtx .* for sm89: UNSUPPORTED_NODE: Det det_7$"):
        build_ahead(determinant(), targets=["sm89"])
    with pytest.raises(ModelError, match=r"latency\.build\.workspace_mib is 1: raise it"):
        build_ahead(MODEL, targets=["sm89"], build=BuildOptions(workspace_mib=1))
    with pytest.raises(ModelError, match=r"cannot build the model for sm89: .*pars"):
        build_ahead(b"no network", targets=["sm89"])
    matrix = LatencyKey(Convolution(16, 16, (1, 1)), (1, 1))
    with pytest.raises(ModelError, match=r"sm75.*Turing.*; build for sm75 in float16"):
        build_ahead(gemm(), targets=["sm89", "sm75"])
    assert build_ahead(single_graph(matrix), targets=["sm89"]).plan


def gemm() -> bytes:
    """A matrix product, as a classifier ends with."""
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [64, 64]) for n in "xwy"]
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm")
    graph = helper.make_graph([node], "product", info[:2], info[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def test_a_free_dimension_is_refused() -> None:
    model = onnx.load_from_string(MODEL)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    with pytest.raises(ModelError, match=r"input x has a free dimension.*export the model with"):
        build_ahead(model.SerializeToString(), targets=["sm89"])


def test_an_older_library_is_told_to_be_too_old_for_a_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = {n: v for n, v in rtx.ComputeCapability.__members__.items() if n != "SM121"}
    monkeypatch.setattr(rtx, "ComputeCapability", SimpleNamespace(**older))
    with pytest.raises(
        RuntimeUnavailable, match=r"cannot build for sm121; run: pip install --upgrade"
    ):
        build_ahead(MODEL, targets=["sm121"])


def test_what_is_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(RuntimeUnavailable, match=r"RTX is not installed .*'tensorrt-rtx-cu13>=1"):
        build_ahead(MODEL, targets=["sm89"])
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", SimpleNamespace(__version__="1.2.0.54"))
    with pytest.raises(RuntimeUnavailable, match=r"TensorRT for RTX 1\.2\.0\.54 is too old"):
        build_ahead(MODEL, targets=["sm89"])


@pytest.mark.skipif(driver.missing_driver() is None, reason="there is a GPU")
def test_what_does_not_load_is_told_apart() -> None:
    plan = build_ahead(MODEL, targets=["sm89"]).plan
    for content, message in (
        (plan, "there is no NVIDIA driver here .*load it on a machine with a GPU"),
        (plan[: len(plan) // 2], "cut short or damaged .*build it again"),
        (plan[:40], "cut short or damaged"),
        (b"no engine" * 100, r"it is not an engine of TensorRT for RTX 1\..*build it again"),
    ):
        with pytest.raises(ArtefactError, match=message):
            engine.load_plan(TENSORRT_RTX, content, here=RTX_4090)


def test_an_engine_says_what_it_is_for_and_that_nobody_has_run_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found, path = build_ahead(MODEL, targets=["sm120", "sm89"]), tmp_path / "network.engine"
    files.save(path, found.plan, found.information, made_ahead(["sm120", "sm89"], checked=False))
    noted = load_json(Origin, tmp_path / "network.engine.json")
    assert (noted.library, noted.tensorrt) == ("tensorrt_rtx", rtx.__version__)
    assert (noted.targets, noted.checked) == (("sm89", "sm120"), False)
    files.check(path, RTX_4090)
    assert "built for sm89, sm120, TensorRT for RTX" in caplog.text
    assert "its outputs were not compared" in caplog.text
    elsewhere = replace(RTX_4090, device="NVIDIA GeForce RTX 3090", capability="8.6")
    for here, message in (
        (
            elsewhere,
            r"built for sm89, sm120, .*this is NVIDIA GeForce RTX 3090 \(compute cap.*8\.6",
        ),
        (replace(RTX_4090, tensorrt="1.8.0.1"), r"RTX 1\.7.*, and this is .*RTX 1\.8\.0\.1"),
        (replace(RTX_4090, library="tensorrt"), r"for RTX 1\.7.*, and this is .*, TensorRT 1\.7"),
    ):
        with pytest.raises(ArtefactError, match=message):
            files.check(path, here)
    with pytest.raises(ArtefactError, match="does not exist"):
        files.check(tmp_path / "other.engine", RTX_4090)


def test_a_portable_engine_is_for_every_gpu_but_turing() -> None:
    made = made_ahead(["portable"], checked=True)
    for capability in ("8.0", "8.9", "12.0"):
        assert made.serves(replace(RTX_4090, capability=capability))
    assert not made.serves(replace(RTX_4090, capability="7.5"))
    assert made_ahead(["sm75"], checked=True).serves(replace(RTX_4090, capability="7.5"))


def test_a_failed_save_leaves_no_file(tmp_path: Path) -> None:
    made = made_ahead(["sm89"], checked=False)
    with pytest.raises(TypeError):
        files.save(tmp_path / "network.engine", b"plan", {"Layers": [object()]}, made)
    assert list(tmp_path.iterdir()) == []


def test_layers_are_read_from_the_builders_log() -> None:
    told = (
        "Layers:\nName: a, b, LayerType: correlation, Inputs: [ { Name: x, Dimensions: [1,2] }], "
        "TacticName: t, StreamId: 0, Metadata: [ONNX Layer: conv, 1]\x1f[ONNX Layer: relu]\n"
        "Name: c, LayerType: signal\n"
    )
    found = built(b"", told)
    assert [(layer.name, layer.kind) for layer in found.layers] == [
        ("a, b", "correlation"),
        ("c", "signal"),
    ]
    assert found.layers[0].nodes == ("conv, 1", "relu")
    assert found.information["Layers"][0]["TacticName"] == "t"


def test_the_first_error_comes_first_and_warnings_last() -> None:
    told = Told()
    called, severity = listener(rtx, told), rtx.ILogger.Severity
    called.log(severity.WARNING, "odd")
    called.log(severity.ERROR, "the\n cause")
    called.log(severity.INTERNAL_ERROR, "what came of it")
    called.log(severity.VERBOSE, "Layers:\nName: a, LayerType: b")
    assert told.complaints() == ["the cause", "what came of it", "odd"]
    assert told.layers.startswith("Layers:")
    told.clear()
    assert (told.complaints(), told.layers) == ([], "")


def test_a_library_has_one_logger_which_forgets_from_call_to_call() -> None:
    told, log = listened(rtx)
    log.log(rtx.ILogger.Severity.ERROR, "of an earlier build")
    again, same = listened(rtx)
    assert (again, same) == (told, log)
    assert told.complaints() == []


def test_a_real_profiler_is_listened_to() -> None:
    reports = Reports()
    profiler(rtx, reports).report_layer_time("conv", 1.5)
    assert reports.take() == [("conv", 1.5)]
