"""What another package brings goes through every stage, as docs/extending.md says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extending.package import broken, install

RECIPE = """
model: {name: "blocks:3", input_size: [1, 16, 16]}
data: {source: digits, calibration_images: 128}
teacher: {epochs: 1, checkpoint_every_s: 0}
candidates: {kinds: [separable], kernel_sizes: [1, 3], max_length: 3}
latency: {table: table.json}
budget: {speedup: 1.5, measured: false}
importance: {images: 320, workers: WORKERS}
apply: {images: 320}
finetune: {epochs: 1, checkpoint_every_s: 0}
"""

TABLE = """
from pathlib import Path
from depthopt import (LatencyTable, NetworkKey, candidates, extract, get_runtime, kept_blocks,
                      latency_keys, save_json)
from depthopt.models.registry import create_model
from depthopt.tables.latency import LatencySummary, NetworkLatency

chain = extract(create_model("blocks:3", {"channels": 1}), (1, 16, 16), name="blocks:3")
found = candidates(chain, kinds=["separable"], kernel_sizes=(1, 3), max_length=3)
assert {c.kind for c in found} == {"keep", "separable"}
ms = lambda key: 1e-3 + 1e-7 * key.operator.macs(key.input_size)
entries = {k: LatencySummary(ms(k), ms(k), ms(k), 1) for c in found for k in latency_keys(chain, c)}
assert any(str(key).startswith("separable ") for key in entries)
whole = sum(entries[k].median_ms for c in kept_blocks(chain) for k in latency_keys(chain, c))
network = NetworkLatency(LatencySummary(whole, whole, whole, 1), 0.0)
conditions, networks = get_runtime("onnxruntime").conditions(1), {NetworkKey.of(chain): network}
table = LatencyTable(conditions, entries, networks)
save_json(table, Path("table.json"))
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
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site") / "packages")


@pytest.fixture(scope="module")
def finished(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, its importances estimated on two Ray workers."""
    folder = tmp_path_factory.mktemp("run")
    succeeded(folder, "-c", TABLE, path=package)
    (folder / "recipe.yaml").write_text(RECIPE.replace("WORKERS", "2"))
    succeeded(folder, "-m", "depthopt", "run", "recipe.yaml", "--run-dir", "out", path=package)
    return folder


def test_a_strangers_kind_goes_through_a_run(finished: Path) -> None:
    plan = json.loads((finished / "out" / "plan.json").read_text())
    assert any(choice.startswith("separable ") for choice in plan["choices"])
    result = json.loads((finished / "out" / "result.json").read_text())
    assert result["fused_difference"] < 1e-4
    assert result["onnx_difference"] < 1e-3
    assert result["compressed"]["convolutions"] > 0


def test_workers_and_this_process_estimate_the_same(finished: Path, package: Path) -> None:
    known = (finished / "out" / "importance.json").read_text()
    (finished / "here.yaml").write_text(RECIPE.replace("WORKERS", "null"))
    for name in ("teacher.safetensors", "manifest.json"):
        (finished / "here").mkdir(exist_ok=True)
        (finished / "here" / name).write_bytes((finished / "out" / name).read_bytes())
    succeeded(
        finished, "-m", "depthopt", "estimate", "here.yaml", "--run-dir", "here", path=package
    )
    assert (finished / "here" / "importance.json").read_text() == known


def test_a_strangers_kind_is_saved_loaded_and_reported(finished: Path, package: Path) -> None:
    saved = json.loads((finished / "out" / "fused" / "model.json").read_text())
    assert saved["packages"] == {"separable": "separable"}
    script = (
        "import depthopt, torch\n"
        "a, b = depthopt.load('out/finetuned'), depthopt.load('out/fused')\n"
        "x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))\n"
        "assert torch.allclose(a(x), b(x), rtol=1e-4, atol=1e-4)\n"
        "assert type(a.segment_0_2 if hasattr(a, 'segment_0_2') else a).__name__\n"
    )
    succeeded(finished, "-c", script, path=package)
    told = succeeded(finished, "-m", "depthopt", "report", "out", path=package)
    assert "separated" in told
    page = (finished / "out" / "report" / "report.html").read_text()
    assert "separated" in page
    assert "#8a5a00" in page


def test_an_entry_of_a_strangers_operator_runs_as_its_graph(package: Path, tmp_path: Path) -> None:
    script = (
        "import numpy as np\n"
        "from depthopt import LatencyKey, get_runtime\n"
        "from depthopt.latency.graphs.entry import entry_graphs\n"
        "key = LatencyKey.parse('separable 8 4-4 k3x3 p1,1,1,1 g4 @6x6 relu')\n"
        "assert str(LatencyKey.parse(str(key))) == str(key)\n"
        "graphs = entry_graphs(key, copies=2)\n"
        "for graph in (graphs.full, graphs.base):\n"
        "    session = get_runtime('onnxruntime').compile(graph)\n"
        "    x = {n: np.ones(s, np.float32) for n, s in session.input_shapes.items()}\n"
        "    assert all(np.isfinite(y).all() for y in session.run(x))\n"
    )
    succeeded(tmp_path, "-c", script, path=package)


def test_without_the_package_its_kind_is_named_with_the_known_ones(
    finished: Path, tmp_path: Path
) -> None:
    bare = run(finished, "-m", "depthopt", "report", "out", path=tmp_path)
    assert bare.returncode == 2
    assert "candidate kind 'separable' is unknown; known: keep, drop, fit, merge" in bare.stderr
    script = "import depthopt; depthopt.load('out/fused')"
    loaded = run(finished, "-c", script, path=tmp_path)
    assert "it came with the package separable: pip install separable" in loaded.stderr


def test_two_packages_that_bring_one_name_are_refused(package: Path, tmp_path: Path) -> None:
    other = broken(tmp_path, "rival", group="depthopt.kinds", target="separable.kind:KIND")
    paths = Path(f"{package}{os.pathsep}{other}")
    done = run(tmp_path, "-m", "depthopt", "extract", "blocks:2", "--input-size", "1,8,8",
               path=paths)  # fmt: skip
    assert done.returncode == 0, "what is not used does no harm"
    script = "from depthopt.kinds.registry import KINDS; KINDS.get('separable')"
    refused = run(tmp_path, "-c", script, path=paths)
    assert "comes from several packages" in refused.stderr
    assert "rival" in refused.stderr
    assert "separable" in refused.stderr


def test_a_package_that_cannot_be_imported_is_named_and_the_rest_works(tmp_path: Path) -> None:
    lame = broken(tmp_path, "lame", group="depthopt.kinds", target="lame_module:KIND")
    script = (
        "from depthopt.kinds.registry import KINDS\n"
        "assert KINDS.get('fit').name == 'fit'\n"
        "KINDS.get('separable')\n"
    )
    done = run(tmp_path, "-c", script, path=lame)
    assert "of the package lame cannot be loaded: ModuleNotFoundError" in done.stderr
