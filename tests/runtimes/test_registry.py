"""Runtimes by name."""

import importlib

import numpy as np
import pytest
import torch

from depthopt.core.operators import Convolution
from depthopt.errors import RuntimeUnavailable, UsageError
from depthopt.runtimes.base import processor_name, random_inputs
from depthopt.runtimes.registry import get_runtime, runtime_names
from depthopt.runtimes.tensorrt.library import LIBRARIES
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.tables.latency import LatencyKey
from tests.single_graph import single_graph


def test_every_named_runtime_says_what_it_is():
    pytest.importorskip("openvino")
    for name in runtime_names():
        if name in LIBRARIES:  # they need a GPU
            continue
        runtime = get_runtime(name, threads=2)
        conditions = runtime.conditions(8)
        assert runtime.name == conditions.runtime == name
        assert runtime.version == conditions.runtime_version
        assert (conditions.threads, conditions.batch, conditions.dtype) == (2, 8, "float32")
        assert conditions.device == processor_name() != ""
        assert conditions.date


def test_an_unknown_name_is_answered_with_the_nearest_and_the_known():
    with pytest.raises(RuntimeUnavailable, match=r"'onnxrutime'; did you mean 'onnxruntime'"):
        get_runtime("onnxrutime")
    with pytest.raises(RuntimeUnavailable, match="known: onnxruntime"):
        get_runtime("abacus")


def test_a_runtime_that_is_not_installed_comes_with_its_pip_command(monkeypatch):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(RuntimeUnavailable, match="run: pip install onnxruntime"):
        get_runtime("onnxruntime")


def test_what_a_runtime_cannot_do_is_refused_with_what_it_can():
    with pytest.raises(RuntimeUnavailable, match="'torch' has no dtype 'int8'; it has: float32"):
        get_runtime("torch", dtype="int8")
    pytest.importorskip("openvino")
    with pytest.raises(RuntimeUnavailable, match="'openvino' has no device 'cuda'; it has: cpu"):
        get_runtime("openvino", device="cuda")


@pytest.mark.parametrize("name", ["onnxruntime", "tensorrt", "torch"])
def test_a_cuda_device_that_is_not_there_is_refused(name):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(RuntimeUnavailable, match=r"onnxruntime-gpu|no CUDA device|NVIDIA GPU"):
        get_runtime(name, device="cuda")


def test_only_tensorrt_builds_engines():
    with pytest.raises(UsageError, match="'onnxruntime' does not build engines"):
        get_runtime("onnxruntime", build=BuildOptions(optimization_level=5))
    with pytest.raises(RuntimeUnavailable, match="'tensorrt' has no device 'cpu'; it has: cuda"):
        get_runtime("tensorrt")
    with pytest.raises(RuntimeUnavailable, match="it has: float32, tf32, float16"):
        get_runtime("tensorrt", device="cuda", dtype="int8")


def test_openvino_computes_in_the_dtype_that_it_says():
    pytest.importorskip("openvino")
    runtime = get_runtime("openvino", dtype="bfloat16")
    assert runtime.conditions(1).dtype == "bfloat16"
    model = single_graph(LatencyKey(Convolution(16, 16, (3, 3)), (8, 8)))
    inputs = random_inputs(get_runtime("openvino").compile(model), 1)
    exact = get_runtime("onnxruntime").compile(model).run(inputs)[0]
    errors = {}
    for dtype in ("float32", "bfloat16"):
        try:
            output = get_runtime("openvino", dtype=dtype).compile(model).run(inputs)[0]
        except RuntimeUnavailable as refusal:  # a processor that has no bfloat16
            pytest.skip(str(refusal))
        errors[dtype] = float(np.abs(output - exact).max())
    assert errors["float32"] < 1e-5 < errors["bfloat16"]


def test_threads_must_be_positive():
    with pytest.raises(UsageError, match="threads is 0"):
        get_runtime("onnxruntime", threads=0)
