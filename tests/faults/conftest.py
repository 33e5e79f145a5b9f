"""Undisturbed small runs, made once a session."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def undisturbed(make_once: Callable[..., Path]) -> Path:
    """A finished run with a given table, and its states."""
    runs = importlib.import_module("tests.faults.runs")
    return make_once("faults-undisturbed", runs.fill)


@pytest.fixture(scope="session")
def another(make_once: Callable[..., Path]) -> Path:
    """The same of another seed."""
    runs = importlib.import_module("tests.faults.runs")
    return make_once("faults-another", lambda folder: runs.fill(folder, ("seed=1",)))


@pytest.fixture(scope="session")
def measured(make_once: Callable[..., Path]) -> Path:
    """A finished run that measured its latencies, and its states."""
    runs = importlib.import_module("tests.faults.runs")
    return make_once("faults-measured", lambda folder: runs.fill(folder, runs.MEASURED))
