"""What another package brings goes through every stage, as docs/guides/extending.md says."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from depthopt import plugins
from depthopt.cli.main import main
from depthopt.errors import UsageError
from depthopt.export.saved import load
from depthopt.kinds.registry import KINDS
from tests.extending.package import broken, install

TABLE = """
from pathlib import Path
from depthopt import (InputSpec, LatencyTable, NetworkKey, candidates, extract, get_runtime,
                      kept_blocks, latency_keys, save_json)
from depthopt.models.registry import create_model
from depthopt.tables.latency import LatencySummary, NetworkLatency

spec, kinds = InputSpec.parse("image=1x16x16,lamps=2"), ["separable"]
chain = extract(create_model("blocks:3-lit", {"channels": 1}), spec, name="blocks:3-lit")
assert str(NetworkKey.of(chain)) == "blocks:3-lit @image=1x16x16,lamps=2"
found = candidates(chain, kinds=kinds, kernel_sizes=(1, 3))
assert {c.kind for c in found} == {"keep", "separable"}
ms = lambda key: 1e-3 + 1e-7 * key.operator.macs(key.input_size)
entries = {k: LatencySummary(ms(k), ms(k), ms(k), 1) for c in found for k in latency_keys(chain, c)}
assert any(str(key).startswith("separable ") for key in entries)
whole = sum(entries[k].median_ms for c in kept_blocks(chain) for k in latency_keys(chain, c))
network = NetworkLatency(LatencySummary(whole, whole, whole, 1), 0.0)
conditions, networks = get_runtime("onnxruntime").conditions(1), {NetworkKey.of(chain): network}
save_json(LatencyTable(conditions, entries, networks), Path("table.json"))
"""


def run(folder: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """A fresh process that finds the package on its path."""
    roots = os.pathsep.join([str(path), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": roots}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def succeeded(folder: Path, *arguments: str, path: Path) -> str:
    done = run(folder, *arguments, path=path)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def package(make_once: Callable[..., Path]) -> Path:
    return make_once("site", lambda folder: install(folder / "packages")) / "packages"


STAGES = """
import io, json, sys
from contextlib import redirect_stdout
from functools import partial
from depthopt.cli.main import main
from depthopt.latency.measure import Effort
from depthopt.pipeline import measure

# Networks are timed for a moment only: no test here asks how fast one is.
measure.time_in_turn = partial(measure.time_in_turn, effort=Effort(seconds=0.5, warmup_s=0.1))

def call(*words):
    sys.argv = ["depthopt", *words]
    try:
        with redirect_stdout(io.StringIO()) as told:
            main()
    except SystemExit as stop:
        assert stop.code in (None, 0), stop.code
    return told.getvalue()

changes = ["lamps.yaml", "latency.table=table.json", "pick=predicted",
           "candidates.kinds=[separable]", "teacher.checkpoint_every_s=0"]
call("run", *changes, "importance.workers=1", "--run-dir", "out")
call("export", *changes, "importance.workers=1", "--run-dir", "out", "--int8")
"""

AFTERWARDS = """
import depthopt, shutil, torch
import numpy as np

Path("here").mkdir()
for name in ("teacher.safetensors", "manifest.json"):
    shutil.copy(Path("out", name), "here")
call("estimate", *changes, "--run-dir", "here")
a, b = depthopt.load("out/finetuned"), depthopt.load("out/fused")
x = {"image": torch.rand(4, 1, 16, 16), "lamps": torch.rand(4, 2)}
assert torch.allclose(a(**x), b(**x), rtol=1e-4, atol=1e-4)
session = get_runtime("onnxruntime").compile(Path("out/fused/model.onnx"))
assert set(session.input_shapes) == {"image", "lamps"}
y = session.run({name: tensor.numpy() for name, tensor in x.items()})[0]
assert np.allclose(y, b(**x).detach().numpy(), rtol=1e-3, atol=1e-3)
data = depthopt.load_dataset("lamps:800", input_size=spec, calibration_images=128, seed=0)
inputs, targets = next(data.test.batches(len(data.test)))
error = float((b(**inputs) - targets).square().mean())
result = json.loads(Path("out", "result.json").read_text())
assert abs(result["compressed"]["metric"] - error) < 1e-5
assert result["test_images"] == len(data.test)
Path("told.txt").write_text(call("report", "out"))
checked = call("check", *["out/fused/model.onnx"] * 2, "--data", "lamps:300", "--task", "squares",
               "--seconds", "1", "--tolerance", "900%", "--json")
Path("checked.json").write_text(checked)
"""

ENTRY = """
from depthopt import LatencyKey
from depthopt.latency.graphs.entry import entry_graphs

key = LatencyKey.parse("separable 8 4-4 k3x3 p1,1,1,1 g4 @6x6 relu")
assert str(LatencyKey.parse(str(key))) == str(key)
graphs = entry_graphs(key, copies=2)
for graph in (graphs.full, graphs.base):
    session = get_runtime("onnxruntime").compile(graph)
    x = {n: np.ones(s, np.float32) for n, s in session.input_shapes.items()}
    assert all(np.isfinite(y).all() for y in session.run(x))
Path("entry.txt").write_text("ran")
"""


@pytest.fixture(scope="module")
def finished(package: Path, make_once: Callable[..., Path]) -> Path:
    """A folder with a finished run, its importances estimated on a worker.

    One process does all that the tests ask for: starting one takes longer than the work.
    """

    def fill(folder: Path) -> None:
        shutil.copy(package / "lamps.yaml", folder)
        succeeded(folder, "-c", TABLE + STAGES + AFTERWARDS + ENTRY, path=package)

    return make_once("extended-run", fill)


def test_a_strangers_kind_goes_through_a_run(finished: Path) -> None:
    plan = json.loads((finished / "out" / "plan.json").read_text())
    assert any(choice.startswith("separable ") for choice in plan["choices"])
    result = json.loads((finished / "out" / "result.json").read_text())
    assert result["fused_difference"] < 1e-4
    assert result["onnx_difference"] < 1e-3
    assert result["compressed"]["convolutions"] > 0


def test_workers_and_this_process_estimate_the_same(finished: Path) -> None:
    known = (finished / "out" / "importance.json").read_text()
    assert (finished / "here" / "importance.json").read_text() == known


def test_a_strangers_kind_is_saved_loaded_and_reported(finished: Path) -> None:
    saved = json.loads((finished / "out" / "fused" / "model.json").read_text())
    assert saved["packages"] == dict.fromkeys(("separable", "blocks", "squares"), "separable")
    assert "separated" in (finished / "told.txt").read_text()
    page = (finished / "out" / "report" / "report.html").read_text()
    assert "separated" in page
    assert "#8a5a00" in page


def test_an_entry_of_a_strangers_operator_runs_as_its_graph(finished: Path) -> None:
    assert (finished / "entry.txt").read_text() == "ran"


def test_a_strangers_task_of_two_inputs_goes_through_a_run(finished: Path) -> None:
    result = json.loads((finished / "out" / "result.json").read_text())
    assert result["metric"]["name"] == "mean squared error"
    assert 0 < result["original"]["metric"] < 1
    assert 0 < result["compressed"]["metric"] < 1
    assert result["fused_difference"] < 1e-4
    assert result["onnx_difference"] < 1e-3
    importance = json.loads((finished / "out" / "importance.json").read_text())
    assert all(0 <= entry["divergence"] < 10 for entry in importance["entries"].values())
    assert {entry["metric_change"] < 0.01 for entry in importance["entries"].values()} == {True}


def test_a_strangers_task_is_exported_reported_and_checked(finished: Path) -> None:
    saved = json.loads((finished / "out" / "fused" / "model.json").read_text())
    assert saved["task"] == "squares"
    assert saved["plan"]["input_size"] == "image=1x16x16,lamps=2"
    assert (finished / "out" / "fused" / "model.int8.onnx").exists()
    said = (finished / "told.txt").read_text()
    assert "mean squared error" in said
    assert "accuracy" not in said
    figures = json.loads((finished / "checked.json").read_text())["figures"]
    (metric,) = [figure for figure in figures if figure["name"] == "mean squared error"]
    assert metric["outcome"] == "pass"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Puts packages on this process's path; after the test nothing knows of them."""

    def put(path: Path) -> None:
        monkeypatch.syspath_prepend(str(path))
        plugins._found.cache_clear()

    before = set(sys.modules)
    yield put
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "separable":
            del sys.modules[name]
    monkeypatch.undo()
    plugins._found.cache_clear()
    plugins._loaded.cache_clear()


def test_without_the_package_its_kind_is_named_with_the_known_ones(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "candidate kind 'separable' is unknown; known: keep, drop, fit, merge, narrow, share"
    with pytest.raises(
        UsageError, match=f"{kind}; it came with the package separable: pip install"
    ):
        load(finished / "out" / "fused")
    monkeypatch.setattr("sys.argv", ["depthopt", "report", str(finished / "out")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert kind in " ".join(capsys.readouterr().err.split())


def test_two_packages_that_bring_one_name_are_refused(
    package: Path,
    tmp_path: Path,
    installed: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed(package)
    installed(broken(tmp_path, "rival", group="depthopt.kinds", target="separable.kind:KIND"))
    monkeypatch.setattr("sys.argv", ["depthopt", "extract", "blocks:2", "--input-size", "1,8,8"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in {None, 0}, "what is not used does no harm"
    assert "legal segments" in capsys.readouterr().out
    with pytest.raises(UsageError, match="comes from several packages") as refused:
        KINDS.get("separable")
    assert "rival" in str(refused.value)
    assert "separable" in str(refused.value)


def test_a_package_that_cannot_be_imported_is_named_and_the_rest_works(
    tmp_path: Path, installed: Callable[[Path], None]
) -> None:
    installed(broken(tmp_path, "lame", group="depthopt.kinds", target="lame_module:KIND"))
    assert KINDS.get("fit").name == "fit"
    with pytest.raises(UsageError, match=r"of the package lame cannot be loaded: ModuleNotFound"):
        KINDS.get("separable")
