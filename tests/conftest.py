"""One thread a worker, what is costly made once, and nothing beside a test that times something."""

import dataclasses
import fcntl
import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and torch are loaded, and for subprocesses


os.fsync = lambda _: None  # nobody cuts the power: each file would wait milliseconds for the disk

gc.disable()  # until all tests are known: none of what is imported is garbage


def _shared_folder(config: pytest.Config) -> Path:
    """A folder that all workers of the session share."""
    own = config._tmp_path_factory.getbasetemp()
    return own.parent if hasattr(config, "workerinput") else own


def _is_timed(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("timed") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is timed comes last, in a row: one worker waits for it once, not for each test.

    What takes long to make comes first, so that it is there by then, and nobody waits for it.
    """
    items.sort(key=lambda item: (_is_timed(item), not _is_long(item)))


def _is_long(item: pytest.Item) -> bool:
    return "make_once" in getattr(item, "fixturenames", ())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules and tests stay to the end: looking for garbage among them takes seconds."""
    _compile_once(session.config)
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)
    gc.enable()


def _compile_once(config: pytest.Config) -> None:
    """While one worker compiles a kernel others wait, and find it in Numba's cache."""
    if "numba" not in sys.modules:
        return
    dispatcher = importlib.import_module("numba.core.dispatcher").Dispatcher
    compiled, lock = dispatcher.compile, FileLock(_shared_folder(config) / "numba.lock")

    @functools.wraps(compiled)
    def compile_alone(*arguments: object) -> object:
        with lock:
            return compiled(*arguments)

    dispatcher.compile = compile_alone


@functools.cache
def _lock(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A test marked ``timed`` has the room to itself, its fixtures included; others share it.

    Who waits for the room holds its door, so that nobody else enters meanwhile.
    """
    door, room = (_lock(_shared_folder(item.config) / name) for name in ("door", "room"))
    fcntl.flock(door, fcntl.LOCK_EX)
    if _is_timed(item):
        fcntl.flock(room, fcntl.LOCK_EX)
    else:
        fcntl.flock(room, fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
    try:
        return (yield)
    finally:
        if not (_is_timed(item) and _is_timed(nextitem)):
            fcntl.flock(room, fcntl.LOCK_UN)
            fcntl.flock(door, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def make_once(request: pytest.FixtureRequest) -> Callable[[str, Callable[[Path], object]], Path]:
    """Fills a folder once a session, whichever worker is first; who reads it must not write it."""

    def made(name: str, fill: Callable[[Path], object]) -> Path:
        folder = _shared_folder(request.config) / name
        with FileLock(f"{folder}.lock"):
            if not (done := folder / ".done").exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                done.touch()
        return folder

    return made


@pytest.fixture
def hasty_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are measured for a moment only: for tests that do not ask how long one takes."""
    bench = importlib.import_module("depthopt.latency.bench")
    measured = bench.sample_in_turn

    def hasty(*calls: object, effort: object, **options: object) -> object:
        short = dataclasses.replace(effort, warmup_s=0.01, burst_ms=0.3)  # type: ignore[type-var]
        return measured(*calls, effort=short, **options)

    monkeypatch.setattr(bench, "sample_in_turn", hasty)
    monkeypatch.setattr(bench, "_GRAPH_US", 50.0)


@pytest.fixture(autouse=True, scope="session")
def few_footprint_plans() -> Iterator[None]:
    """Footprints are learned from three plans, each timed for a moment: what they are is tested by
    ``latency/test_footprint.py`` alone."""
    footprint, measure, profile, work = (
        importlib.import_module(f"depthopt.{name}")
        for name in ("latency.footprint", "latency.measure", "latency.profile", "pipeline.work")
    )
    measured = footprint.with_footprints
    hasty = measure.Effort(seconds=0.1, min_rounds=3, warmup_s=0.01, burst_ms=1.0)

    def few(*arguments: object, plans: int, **options: object) -> object:
        return measured(*arguments, plans=min(plans, 3), effort=hasty, **options)

    with pytest.MonkeyPatch.context() as patch:
        for module in (profile, work):
            patch.setattr(module, "with_footprints", few)
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say in figures: ``record_property("summary", ...)``, a line each."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "summary" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")
