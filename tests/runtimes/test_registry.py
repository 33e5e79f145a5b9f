"""Runtimes by name."""

import importlib

import pytest

from depthopt.errors import RuntimeUnavailable, UsageError
from depthopt.runtimes import get_runtime, processor_name, runtime_names


def test_every_named_runtime_says_what_it_is():
    for name in runtime_names():
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


def test_a_runtime_to_come_is_not_called_unknown():
    with pytest.raises(RuntimeUnavailable, match="not implemented yet; use one of: onnxruntime"):
        get_runtime("tensorrt")


def test_a_runtime_that_is_not_installed_comes_with_its_pip_command(monkeypatch):
    def refuse(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(RuntimeUnavailable, match="run: pip install onnxruntime"):
        get_runtime("onnxruntime")


def test_threads_must_be_positive():
    with pytest.raises(UsageError, match="threads is 0"):
        get_runtime("onnxruntime", threads=0)
