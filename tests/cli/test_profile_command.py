"""``depthopt profile`` on a small timm model and the real runtime."""

import contextlib
import importlib
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json
from depthopt.errors import TableError
from depthopt.latency.measure import Effort
from depthopt.tables.latency import LatencyTable
from depthopt.tables.store import store
from tests.resealed import reseal

QUICK = (
    *("--input-size", "3,32,32", "--seconds-per-entry", "0.001"),
    *("--kinds", "fit", "--max-length", "3", "--kernel-sizes", "1"),
)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, hasty_bench):  # noqa: ARG001 - for what it does
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["depthopt", "profile", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return run


@pytest.fixture
def measured(call, make_once, tmp_path):
    """The model measured once into the device's table: what was printed, and its own copy."""

    def fill(folder):
        with contextlib.chdir(folder):
            code, out, _ = call("small:residual", *QUICK, "--json")
        assert code == 0
        (folder / "printed.json").write_text(out)

    shutil.copytree(make_once("measured", fill), tmp_path, dirs_exist_ok=True)
    summary = json.loads((tmp_path / "printed.json").read_text())
    return summary, tmp_path / summary["table"]


@pytest.mark.timed
def test_a_model_is_measured_into_the_devices_table_once(call, measured):
    summary, path = measured
    assert path.parent.parent.name == "latency_tables"
    assert path.name.startswith("onnxruntime-")
    assert summary["network"] == "small:residual @3x32x32"
    assert summary["entries"] > 10
    assert 0 <= summary["fixed_ms"] < summary["total_ms"]
    factors = [each["factor"] for each in summary["footprints"]]
    assert factors == sorted(factors) != []
    content = path.read_text()
    assert json.loads(content)["conditions"]["ballast_mib"] == 4.0

    code, _, err = call("small:residual", *QUICK)
    assert code == 2
    assert "--update" in err

    code, out, _ = call("small:residual", *QUICK, "--update", "--json")
    assert (code, json.loads(out)["entries"]) == (0, summary["entries"])
    assert path.read_text() == content

    more = [*QUICK[:-1], "1,3"]
    code, out, _ = call("small:residual", *more, "--update", "--json")
    assert code == 0
    assert json.loads(out)["entries"] > summary["entries"]
    before, after = json.loads(content), json.loads(path.read_text())
    assert before["entries"].items() <= after["entries"].items()


@pytest.mark.timed
def test_without_plans_latency_is_a_sum_and_the_tables_do_not_mix(call, measured):
    code, out, _ = call("small:residual", *QUICK, "--tables", "sum.json", "--json",
                        "--footprint-plans", "0")  # fmt: skip
    summary = json.loads(out)
    assert (code, summary["footprints"]) == (0, [])
    content = json.loads(Path("sum.json").read_text())
    assert content["conditions"]["ballast_mib"] is None
    fewer = [*QUICK[:-1], "1,3"]
    code, out, _ = call("small:residual", *fewer, "--tables", "sum.json", "--update", "--json")
    assert (code, json.loads(out)["footprints"]) == (0, []), "a table is added to in its own way"
    assert json.loads(out)["entries"] > summary["entries"]
    with pytest.raises(TableError, match=r"ballast_mib None against 4\.0"):
        store(Path("sum.json"), load_json(LatencyTable, measured[1]))


@pytest.mark.timed
@pytest.mark.usefixtures("measured")
def test_a_full_table_needs_no_torch():
    script = (
        "import sys\nfrom depthopt.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as exit_:\n"
        "    sys.exit(exit_.code or 10 * ('torch' in sys.modules))"
    )
    arguments = [sys.executable, "-c", script, "profile", "small:residual", *QUICK, "--update"]
    assert subprocess.run(arguments, check=False).returncode == 0


@pytest.mark.timed
def test_predictions_are_checked_stored_and_drawn(call, measured, tmp_path, monkeypatch):
    effort = Effort(seconds=0.5, warmup_s=0.1)
    home = importlib.import_module("depthopt.latency.validate")
    monkeypatch.setattr(home, "validate", partial(home.validate, effort=effort))
    code, out, _ = call(
        "small:residual",
        *QUICK,
        "--update",
        "--validate",
        "1",
        "--plot",
        "plot.svg",
        "--json",
    )
    assert code == 0
    (plan,) = json.loads(out)["validation"]["plans"]
    (only,) = json.loads(out)["validation"]["by_speedup"]
    assert (only["plans"], only["largest_error"]) == (1, abs(plan["error"]))
    (stored,) = measured[1].parent.glob("*.validation-*.json")
    assert json.loads(stored.read_text())["network"] == "small:residual @3x32x32"
    assert (tmp_path / "plot.svg").read_text().count("median") >= 1


@pytest.mark.timed
@pytest.mark.usefixtures("measured")
def test_layers_come_from_the_runtimes_profiler(call):
    code, out, _ = call("small:residual", *QUICK, "--update", "--layers")
    assert code == 0
    assert "Conv" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small:residual", "--runtime", "openvin"), "did you mean 'openvino'"),
        (("small:residual", "--dtype", "int4"), "has no dtype 'int4'; it has: float32"),
        (("small:residual", "--plot", "a.svg"), "--validate N"),
        (("small:residual", "--kernel-sizes", "1,x"), "'x' is not a whole number"),
        (("small:residual", "--input-size", "32,32"), "nor of the form C,H,W"),
        (("test_resnett",), "timm knows no model 'test_resnett'; did you mean"),
        (("small:residual", "budget.ms=3"), "changes a recipe"),
        (("small:residual", "--batch", "0"), "--batch is 0: Input should be greater than 0"),
    ],
)
def test_each_mistake_is_one_line_and_writes_nothing(call, tmp_path, arguments, message):
    code, _, err = call(*arguments)
    assert code == 2
    assert message in " ".join(err.split())
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.timed
def test_a_table_of_another_device_is_refused(call, measured, tmp_path):
    content = measured[1].read_text().replace('"runtime_version": "', '"runtime_version": "0.')
    path = tmp_path / "t.json"
    path.write_text(content)
    reseal(path)
    content = path.read_text()
    code, _, err = call("small:residual", *QUICK, "--tables", "t.json", "--update")
    assert code == 2
    assert "other conditions" in err
    assert path.read_text() == content
