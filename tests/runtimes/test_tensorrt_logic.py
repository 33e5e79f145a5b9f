"""What is known of TensorRT without it: settings, origins, names, profiles and messages."""

import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from depthopt.core.operators import Activation, Convolution
from depthopt.errors import ArtefactError, RuntimeUnavailable, UsageError
from depthopt.latency.bench import ACCELERATOR, copies_of
from depthopt.latency.graphs.entry import entry_graphs
from depthopt.runtimes.registry import get_runtime
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.layers import layer_times
from depthopt.runtimes.tensorrt.library import TENSORRT
from depthopt.runtimes.tensorrt.messages import failed_build, failed_load
from depthopt.runtimes.tensorrt.network import key, read
from depthopt.runtimes.tensorrt.options import BuildOptions, labelled, numbers, parse
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.runtimes.tensorrt.plans import Plans
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph

H100 = Origin("NVIDIA H100 80GB HBM3", "9.0", "10.16.1.11")
A100 = Origin("NVIDIA A100-SXM4-40GB", "8.0", "10.16.1.11")
SAME = Convolution(16, 16, (3, 3), padding=(1, 1, 1, 1))
CONV = LatencyKey(SAME, (8, 8), Activation("relu6"), residual=True)


def test_versions_carry_the_settings_that_make_other_engines():
    assert labelled("10.16.1.11", BuildOptions()) == "10.16.1.11"
    build = BuildOptions(optimization_level=5, workspace_mib=512, version_compatible=True)
    assert labelled("11.4.0.106", build) == "11.4.0.106+level5+workspace512+compatible"
    assert numbers("10.14.1.48.post1") == (10, 14, 1, 48)
    assert numbers("8.6.1") < (10, 12) <= numbers("10.12.0.36") < numbers("11.0.0.114")


def test_settings_come_as_texts_too():
    assert parse([]) == BuildOptions()
    found = parse(["workspace_mib=512", "version_compatible=true", "timing_cache=a/b.timing"])
    assert found == BuildOptions(3, 512, True, Path("a/b.timing"))
    for setting, message in (
        ("workspace_mib", "not of the form key=value"),
        ("workspace=1", r"unknown build setting workspace; did you mean workspace_mib\?"),
        ("optimization_level=6", "optimization_level is '6': .*less than or equal to 5"),
    ):
        with pytest.raises(UsageError, match=message):
            parse([setting])


def test_no_gpu_no_library_and_an_old_one_are_told_apart(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeUnavailable, match="needs an NVIDIA GPU and torch sees none"):
        get_runtime("tensorrt", device="cuda", dtype="float16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RuntimeUnavailable, match=r"run: pip install 'tensorrt>=10\.12'") as refusal:
        get_runtime("tensorrt", device="cuda")
    assert "\n" not in str(refusal.value)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.1"))
    with pytest.raises(RuntimeUnavailable, match=r"TensorRT 8\.6\.1 is too old"):
        get_runtime("tensorrt", device="cuda")


def test_what_another_gpu_or_version_made_is_refused_with_both_named(tmp_path):
    path = tmp_path / "network.engine"
    path.write_bytes(b"plan")

    def check(here):
        origin.check(path, here, what="the engine", instead="build it again")

    check(H100)  # nothing is known of it
    origin.note(path, H100)
    check(H100)
    with pytest.raises(ArtefactError, match=r"the engine .*H100.*9\.0.*A100.*8\.0.*build it again"):
        check(A100)
    newer = Origin(H100.device, H100.capability, "10.17.0.1")
    with pytest.raises(ArtefactError, match=r"TensorRT 10\.16\.1\.11, and this is .*10\.17\.0\.1"):
        check(newer)


def test_version_compatible_engines_serve_later_minor_versions_only():
    made = Origin(H100.device, H100.capability, "10.14.1.48.post1", version_compatible=True)
    assert made.serves(H100)
    assert not made.serves(Origin(H100.device, H100.capability, "10.13.0.35"))
    assert not made.serves(Origin(H100.device, H100.capability, "11.0.0.114"))
    assert not made.serves(A100)
    assert H100.slug == "nvidia-h100-80gb-hbm3-10.16.1.11"


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16"])
def test_networks_keep_their_inputs_and_their_meaning(dtype):
    model = single_graph(CONV, batch=2)
    network = read(model, dtype)
    assert network.input_shapes == {"x": (2, 16, 8, 8), "residual": (2, 16, 8, 8)}
    assert list(network.operators.values()) == ["Conv", "Add", "Clip"]
    converted = onnx.load_from_string(network.content)
    kinds = {tensor.data_type for tensor in converted.graph.initializer}
    assert kinds == {TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT}
    for entry in (*converted.graph.input, *converted.graph.output):
        assert entry.type.tensor_type.elem_type == TensorProto.FLOAT
    generator = np.random.default_rng(0)
    inputs = {n: generator.random(s, np.float32) for n, s in network.input_shapes.items()}
    exact, found = (
        get_runtime("onnxruntime").compile(m).run(inputs)[0] for m in (model, network.content)
    )
    np.testing.assert_allclose(found, exact, atol=1e-2 if dtype == "float16" else 0)
    assert (dtype == "float16") == bool(np.any(found != exact))


def test_every_node_has_a_name_of_its_own():
    nodes = [helper.make_node("Relu", [a], [b], name="relu") for a, b in ("xy", "yz")]
    nodes.append(helper.make_node("Relu", ["z"], ["w"]))
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in "xw"]
    model = helper.make_model(helper.make_graph(nodes, "three", info[:1], info[1:]))
    network = read(model.SerializeToString(), "float32")
    assert network.operators == {"relu": "Relu", "relu_1": "Relu", "relu_2": "Relu"}
    assert network.input_shapes == {"x": (None, 3)}
    fixed = read(network.fixed({"x": (5, 3)}), "float32")
    assert fixed.input_shapes == {"x": (5, 3)}
    assert fixed.fixed({"x": (5, 3)}) is fixed.content


def test_engines_are_found_again_by_all_that_makes_them():
    build = BuildOptions()
    keys = {
        key(b"a", "float32", build),
        key(b"b", "float32", build),
        key(b"a", "tf32", build),
        key(b"a", "float32", BuildOptions(workspace_mib=64)),
    }
    assert len(keys) == 4
    assert key(b"a", "float32", BuildOptions()) in keys


def test_engines_used_longest_ago_go_first():
    plans = Plans(limit_bytes=10)
    plans.put("a", b"12345")
    plans.put("b", b"1234")
    assert plans.get("a") == b"12345"
    plans.put("c", b"123")
    assert (plans.get("a"), plans.get("b"), plans.get("c")) == (b"12345", None, b"123")
    plans.put("a", b"1234567")
    assert plans.get("c") == b"123"
    plans.put("d", b"x" * 11)
    assert plans.get("d") is None


INFORMATION = {
    "Layers": [
        {
            "Name": "conv_0 + relu_1",
            "LayerType": "CaskConvolution",
            "Metadata": "[ONNX Layer: conv_0]\x1e[ONNX Layer: relu_1]",
        },
        {"Name": "Reformatting CopyNode for Output", "LayerType": "Reformat", "Metadata": ""},
        "a layer without parameters",
    ]
}


def test_profiles_become_layers_with_their_operators():
    operators = {"conv_0": "Conv", "relu_1": "Relu", "conv_2": "Conv", "add_3": "Add"}
    copy = "Reformatting CopyNode for Output"
    names = ("conv_0 + relu_1", "conv_2 + PWN(add_3) || conv_0", copy, "__myl_0")
    runs = [[(name, i + run) for i, name in enumerate(names)] for run in (1.0, 2.0, 9.0)]
    runs[1].append((names[0], 0.5))  # the same layer in two parts
    layers = layer_times(runs, INFORMATION, operators)
    assert [layer.name for layer in layers] == list(names)
    kinds = ["Conv+Relu", "Conv+Add+Conv", "Reformat", "unknown"]
    assert [layer.operator for layer in layers] == kinds
    assert [layer.median_ms for layer in layers] == [2.5, 3.0, 4.0, 5.0]


MEMORY = "[virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory"
NO_KERNEL = "Error Code 10: Internal Error (Could not find any implementation for node conv_0.)"


def test_memory_that_ran_out_is_told_with_the_workspace_setting():
    failed = partial(failed_build, of=TENSORRT)
    unlimited = failed([MEMORY, NO_KERNEL], BuildOptions())
    assert "OutOfMemory" in unlimited
    assert "no workspace limit is set: set latency.build.workspace_mib" in unlimited
    limited = failed([NO_KERNEL], BuildOptions(workspace_mib=16))
    assert "latency.build.workspace_mib is 16: raise it" in limited
    assert failed(["Unsupported operator X", "of that"], BuildOptions()) == "Unsupported operator X"
    assert failed([], BuildOptions()) == "TensorRT gave no reason"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            (
                "The engine plan file is generated on an incompatible device, "
                "expecting compute 9.0 got compute 8.6, please rebuild."
            ),
            r"built for compute capability 8\.6, and this is NVIDIA H100.*9\.0",
        ),
        (
            (
                "The engine plan file is not compatible with this version of TensorRT, expecting "
                "library version 10.16.1.11 got 10.3.0.26, please rebuild."
            ),
            r"built by TensorRT 10\.3\.0\.26, and this is .*TensorRT 10\.16\.1\.11",
        ),
        (
            (
                "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed."
                "Version tag does not match. "
                "Note: Current Version: 240, Serialized Engine Version: 228"
            ),
            "that writes format 228, not 240",
        ),
        (
            "Magic tag does not match",
            r"not an engine of TensorRT 10.* \(Magic tag does not match\)",
        ),
        (
            (
                "The engine cannot run on this GPU, which has compute capability 8.6. Rebuild the "
                "engine for compute capability 8.6"
            ),
            r"built for other GPUs .The engine cannot run on this GPU.*, and this is NVIDIA H100",
        ),
        (
            (
                "The engine has been created with TensorRT-RTX version 1.4.0.76, but the current "
                "runtime is TensorRT-RTX version 1.7.1.116"
            ),
            r"built by TensorRT for RTX 1\.4\.0\.76, and this is",
        ),
        ("cudaError 35: CUDA driver version is insufficient", "there is no NVIDIA driver here"),
        ("plan.header.size == blobSize failed", "it is cut short or damaged"),
        ("Something else", "^Something else; build it again"),
    ],
)
def test_engines_of_elsewhere_are_told_from_tensorrts_log(told, message):
    found = failed_load([told, "a warning"], H100)
    assert "build it again on this machine" in found or "on a machine with a GPU" in found
    assert re.search(message, found)


def test_entries_on_a_gpu_have_more_copies_at_the_same_size():
    spec = Convolution(64, 64, (3, 3), padding=(1, 1, 1, 1))
    slow = LatencyKey(spec, (28, 28), Activation("relu"))
    assert copies_of(slow, 8, 16 << 20) == 2
    assert copies_of(slow, 8, 16 << 20, ACCELERATOR) > 8
    half = read(entry_graphs(slow, copies=2, batch=2).full, "float16")
    assert "Sum" in half.operators.values()
