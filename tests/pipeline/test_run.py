import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json
from depthopt.core.plan import Frontier, Plan
from depthopt.errors import CheckFailed, InfeasibleBudget
from depthopt.pipeline import stages
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import STAGE_NAMES, run
from tests.pipeline.small_run import write_recipe

WEIGHTS = (
    "teacher.safetensors", "shallow/model.safetensors", "finetuned/model.safetensors",
    "fused/model.safetensors",
)  # fmt: skip
VALUES = ("chain.json", "candidates.json", "latency.json", "importance.json", "frontier.json",
          "plan.json")  # fmt: skip


class Log:
    """Remembers which stages were carried out and which skipped."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.skipped_stages: list[str] = []

    def started(self, stage: str) -> None:
        self.done.append(stage)

    def progress(self, done: int, total: int, what: str) -> None:
        assert 0 <= done <= total
        assert what

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        assert stage == self.done[-1]
        assert seconds >= 0
        assert "\n" not in summary

    def skipped(self, stage: str) -> None:
        self.skipped_stages.append(stage)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and the folder of its finished run."""
    folder = tmp_path_factory.mktemp("run")
    recipe = write_recipe(folder)
    log = Log()
    run(load_recipe(recipe), folder / "out", reporter=log)
    assert tuple(log.done) == STAGE_NAMES
    return recipe, folder / "out"


def test_a_run_ends_in_a_checked_result(finished: tuple[Path, Path]) -> None:
    _, folder = finished
    result = load_json(Result, folder / "result.json")
    plan = load_json(Plan, folder / "plan.json")
    assert result.predicted_speedup == plan.speedup >= 1.5
    assert result.compressed.convolutions < result.original.convolutions
    assert result.compressed.parameters < result.original.parameters
    assert result.fused_difference <= 1e-4
    assert result.onnx_difference <= 1e-3
    assert result.speedup == pytest.approx(
        result.original.latency.median_ms / result.compressed.latency.median_ms
    )
    assert Path(result.onnx).is_file()
    assert not list(folder.glob("*checkpoint*"))


def test_a_finished_run_does_nothing_again(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    log = Log()
    run(load_recipe(recipe), folder, reporter=log)
    assert log.done == []
    assert tuple(log.skipped_stages) == STAGE_NAMES


def test_a_changed_recipe_redoes_what_it_affects(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    log = Log()
    run(load_recipe(recipe, ["budget.speedup=1.3"]), folder, until="apply", reporter=log)
    assert log.done == ["solve", "apply"]
    frontier = load_json(Frontier, folder / "frontier.json")
    assert load_json(Plan, folder / "plan.json") == frontier.pick(speedup=1.3)
    log = Log()
    run(load_recipe(recipe), folder, until="apply", reporter=log)
    assert log.done == ["solve", "apply"]


def test_a_budget_below_the_fastest_plan_writes_no_plan(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    before = (folder / "plan.json").read_bytes()
    with pytest.raises(InfeasibleBudget, match="below the fastest plan"):
        run(load_recipe(recipe, ["budget.speedup=50"]), folder, until="solve")
    assert (folder / "plan.json").read_bytes() == before


def test_a_run_whose_check_fails_ends_with_an_error(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    copy = tmp_path / "out"
    subprocess.run(["/bin/cp", "-r", str(folder), str(copy)], check=True)
    for name in ("fused/model.json", "fused/model.safetensors"):
        (copy / name).unlink()
    monkeypatch.setattr(stages, "FUSED_TOLERANCE", -1.0)
    with pytest.raises(CheckFailed, match="fused model's logits differ"):
        run(load_recipe(recipe), copy, until="merge")
    assert not (copy / "fused" / "model.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_killed_in_a_stage_and_started_again_it_ends_the_same(
    stage: str, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    """SIGKILL at a random moment of each stage; tables, plan and weights are bit-identical.

    The stages before are taken from the undisturbed run.
    """
    recipe, folder = finished
    copy = tmp_path / "out"
    subprocess.run(["/bin/cp", "-r", str(folder), str(copy)], check=True)
    for later in stages.STAGES[STAGE_NAMES.index(stage) :]:
        for output in later.outputs:
            (copy / output).unlink()
    command = [sys.executable, "-m", "depthopt", "run", str(recipe), "--run-dir", str(copy)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"{stage} ..."):
            time.sleep(random.Random(stage).uniform(0, 1.5))
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    subprocess.run(command, check=True, capture_output=True)
    for name in (*WEIGHTS, *VALUES):
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name
    assert (copy / "result.json").exists()
