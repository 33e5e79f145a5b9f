import contextlib
import io
import json
import os
import pickletools
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import cloudpickle
import numpy as np
import onnx
import pytest
import safetensors.torch
import yaml
from PIL import Image
from rich.console import Console

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Frontier, Plan
from depthopt.core.trials import Trials
from depthopt.errors import CheckFailed, InfeasibleBudget
from depthopt.pipeline import picking, stages, work
from depthopt.pipeline.context import BATCH
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import STAGE_NAMES, run
from depthopt.report.explorer import explorer
from depthopt.report.reading import read_run
from depthopt.runtimes.tensorrt.origin import Origin
from depthopt.tables.latency import LatencyTable
from depthopt.tables.store import table_path
from depthopt.tasks.evaluate import evaluate
from depthopt.workflow.progress import ConsoleReporter
from tests.pipeline.small_run import NAME, Log

WEIGHTS = (
    "teacher.safetensors", "applied/model.safetensors", "finetuned/model.safetensors",
    "fused/model.safetensors",
)  # fmt: skip
VALUES = ("chain.json", "candidates.json", "latency.json", "importance.json", "frontier.json",
          "plan.json")  # fmt: skip


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


@pytest.mark.parametrize("regressed", [True, False])
def test_the_classifier_is_regressed_unless_that_is_not_wanted(
    finished: tuple[Path, Path], regressed: bool
) -> None:
    recipe, folder = finished
    override = f"apply.head={str(regressed).lower()}"
    run(load_recipe(recipe, [override]), folder, until="apply", reporter=Log())
    before, after = (
        safetensors.torch.load_file(folder / name)["fc.weight"]
        for name in ("teacher.safetensors", "applied/model.safetensors")
    )
    assert (before != after).any() == regressed


def test_no_file_of_a_run_is_a_pickle(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read as what its name says: exports, reports, and a training that was stopped."""
    pytest.importorskip("openvino")
    recipe, folder = finished
    words = "--run-dir", folder, "--openvino", "--int8", "--for", "tensorrt"
    call("export", recipe, *words, monkeypatch=monkeypatch)
    told = {e.key: e.value for e in onnx.load(folder / "fused/model.int8.onnx").metadata_props}
    assert told["depthopt.int8_for"] == "tensorrt"
    call("report", folder, monkeypatch=monkeypatch)
    with pytest.raises(Interrupted):
        run(
            load_recipe(recipe, ["finetune.epochs=3"]),
            folder,
            until="finetune",
            reporter=Interrupter(),
        )
    read = Counter()
    for path in (p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert not zipfile.is_zipfile(path), path
        with pytest.raises((ValueError, IndexError, EOFError)):
            list(pickletools.genops(content))
        READERS[path.suffix](content)
        read[path.suffix] += 1
    assert read[".json"] >= 10
    assert read[".safetensors"] == 5
    assert read[".onnx"] == 4
    assert set(read) == set(READERS), "every kind of file was there"


def call(*words: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["depthopt", *map(str, words)])
    with pytest.raises(SystemExit, match="0"):
        main()


def _checked(content: bytes) -> None:
    onnx.checker.check_model(onnx.load_from_string(content))


READERS = {
    ".json": json.loads,
    ".safetensors": safetensors.torch.load,
    ".onnx": _checked,
    ".yaml": yaml.safe_load,
    ".xml": ET.fromstring,
    ".bin": lambda content: np.frombuffer(content, np.uint8),  # OpenVINO's weights, end to end
    ".html": lambda content: HTMLParser().feed(content.decode()),
    ".svg": ET.fromstring,
    ".png": lambda content: Image.open(io.BytesIO(content)).verify(),
}


def test_a_run_is_exported_for_any_batch_openvino_and_in_8_bits(
    finished: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("openvino")
    recipe, folder = finished
    words = "export", recipe, "--run-dir", folder, "--json", "--openvino", "--int8"
    call(*words, monkeypatch=monkeypatch)
    names = ["fused.onnx", "fused/model.onnx", "fused/model.xml", "fused/model.int8.onnx"]
    assert json.loads(capsys.readouterr().out)["artefacts"] == [str(folder / n) for n in names]
    assert all((folder / name).is_file() for name in (*names, "fused/model.bin"))
    log = Log()
    run(load_recipe(recipe), folder, reporter=log)
    assert log.done == [], "what else lies in the folder does not make a stage run again"
    told = {e.key: e.value for e in onnx.load(folder / "fused/model.onnx").metadata_props}
    assert told["depthopt.model"] == NAME
    assert (folder / "fused/model.int8.onnx").stat().st_size < (
        0.6 * (folder / "fused/model.onnx").stat().st_size
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine"], "set latency.runtime=tensorrt, or name the GPUs to build for: --target"),
        (["--engine", "--target", "sm90"], "known: sm75, sm80, sm86, sm89, sm120, sm121, or port"),
        (["--engine", "--target", "sm89", "--dtype", "int8"], "--dtype is 'int8'; known: float32"),
        (["--target", "sm89"], "--target goes with --engine; give --engine too"),
        (["--dtype", "float16"], "--dtype goes with --engine; give --engine too"),
        (
            ["--engine", "--dtype", "float16"],
            "--dtype goes with --target; for this GPU set latency",
        ),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_anything_is_done(
    options: list[str],
    message: str,
    finished: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, _ = finished
    command = ["depthopt", "export", str(recipe), "--run-dir", str(tmp_path / "new"), *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_an_engine_for_targets_is_built_whatever_was_measured_on(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")
    recipe, folder = finished
    targets = "--engine", "--target", "sm120", "--target", "sm89", "--dtype", "float16"
    call("export", recipe, "--run-dir", folder, *targets, monkeypatch=monkeypatch)
    told = capsys.readouterr()
    assert "model.engine: built for sm120, sm89, not run here" in told.err.replace("\n", "")
    engine = folder / "fused/model.engine"
    assert told.out.splitlines()[-1] == str(engine)
    made = load_json(Origin, engine.with_name("model.engine.json"))
    assert (made.targets, made.checked) == (("sm89", "sm120"), False)


def test_a_run_keeps_its_recipe(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    assert load_recipe(folder / "recipe.yaml") == load_recipe(recipe)
    again = load_recipe(folder / "recipe.yaml", ["budget={ms: 0.25}"])
    assert again.budget.ms == 0.25
    assert again.budget.speedup is None


def test_a_reports_command_makes_the_plan_that_it_shows(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    _, folder = finished
    copy = tmp_path / "a run"
    shutil.copytree(folder, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    frontier, shown = load_json(Frontier, copy / "frontier.json"), explorer(read_run(copy))
    assert shown is not None
    for index in (0, len(shown.points) // 2):
        words = shlex.split(shown.points[index].budget.join(shown.another.parts))
        assert words[:2] == ["depthopt", "run"]
        assert (words[3], words[5]) == ("--from", "--run-dir")
        log, new = Log(), Path(words[6])
        recipe = load_recipe(Path(words[2]), words[7:])
        run(recipe, new, until="solve", start_from=Path(words[4]), reporter=log)
        assert log.done == ["solve"], "what was measured and estimated is taken over"
        assert load_json(Plan, new / "plan.json") == frontier.plan(index)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


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


@pytest.mark.timed
def test_a_measured_budget_is_kept_by_plans_that_were_timed(
    finished: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    recipe, folder = finished
    caplog.set_level("INFO", "depthopt.latency.pick")
    changed = load_recipe(recipe, ["budget={speedup: 1.2}", "pick=measured"])
    context = run(changed, folder, until="solve")
    assert context.plan in [context.frontier.plan(i) for i in range(len(context.frontier.points))]
    timed = [re.findall(r"[0-9.]+(?=x)", message) for message in caplog.messages]
    assert any(
        float(predicted) == pytest.approx(context.plan.speedup, abs=0.005)
        and float(measured) >= 1.2 - 0.005
        for predicted, measured in timed
    )


def test_trials_pick_the_plan_that_trains_best_and_go_on_where_they_were_stopped(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    quick = "apply={images: 320, classifier: false, compensate: false}"
    changed = load_recipe(recipe, ["pick=tried", "trials.steps=2", quick])
    before = (folder / "plan.json").read_bytes()
    real, calls = picking.finetune, []

    def stopped(*arguments: object, **options: Any) -> object:
        calls.append(options["config"].steps)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(picking, "finetune", stopped)
    as_predicted = contextlib.nullcontext(lambda plan: plan.speedup**1.2)
    monkeypatch.setattr(picking, "plan_timer", lambda *_, **__: as_predicted)
    with pytest.raises(KeyboardInterrupt):
        run(changed, folder, until="solve")
    begun = load_json(Trials, folder / "trials.json")
    assert [trial.is_done for trial in begun.trials].count(True) == 1
    context = run(changed, folder, until="solve")
    done = load_json(Trials, folder / "trials.json")
    assert done.trials[0] == begun.trials[0], "what was tried is not tried again"
    assert calls == [2] * (len(done.trials) + 1)
    assert len(done.trials) > 1
    assert all(trial.speedup >= 1.5 and trial.loss for trial in done.trials)
    assert context.plan == min(done.trials, key=lambda trial: trial.loss).plan
    run(load_recipe(recipe), folder, until="solve")
    assert (folder / "plan.json").read_bytes() == before
    assert not (folder / "trials.json").exists(), "they were of another recipe"


def test_plans_are_tried_without_training_and_gone_on_with(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    quick = "apply={images: 320, head: false, compensate: false}"
    changed = load_recipe(recipe, ["pick=null", quick])
    assert changed.picked == "tried", "by default"
    real, calls = picking.carried_out, []

    def stopped(*arguments: Any) -> object:
        calls.append(arguments[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(picking, "carried_out", stopped)
    monkeypatch.setattr(picking, "finetune", lambda *_, **__: pytest.fail("was finetuned"))
    as_predicted = contextlib.nullcontext(lambda plan: plan.speedup**1.2)
    monkeypatch.setattr(picking, "plan_timer", lambda *_, **__: as_predicted)
    with pytest.raises(KeyboardInterrupt):
        run(changed, folder, until="solve")
    log = Log()
    context = run(changed, folder, until="apply", reporter=log)
    done = load_json(Trials, folder / "trials.json").trials
    assert calls[:2] == [trial.plan for trial in done[:2]]
    assert calls[2:] == [trial.plan for trial in done[1:]], "no plan twice"
    assert len(done) > 1
    images = len(context.data.calibration)
    assert all(len(trial.losses) == images for trial in done)
    assert [sum(t.losses) / images for t in done] == pytest.approx([t.loss for t in done])
    assert context.plan == min(done, key=lambda trial: trial.loss).plan
    applied = evaluate(context.network("applied"), context.data.calibration.batches(BATCH))
    assert applied.loss == pytest.approx(min(trial.loss for trial in done)), "what was picked"


def test_a_budget_below_the_fastest_plan_writes_no_plan(finished: tuple[Path, Path]) -> None:
    recipe, folder = finished
    before = (folder / "plan.json").read_bytes()
    with pytest.raises(InfeasibleBudget, match="below the fastest plan"):
        run(load_recipe(recipe, ["budget.speedup=50"]), folder, until="solve")
    assert (folder / "plan.json").read_bytes() == before


def test_a_run_whose_check_fails_ends_with_an_error(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    for name in ("fused/model.json", "fused/model.safetensors"):
        (folder / name).unlink()
    monkeypatch.setattr(work, "FUSED_TOLERANCE", -1.0)
    with pytest.raises(CheckFailed, match="fused model's outputs differ"):
        run(load_recipe(recipe), folder, until="fuse")
    assert not (folder / "fused" / "model.json").exists()


class Interrupted(BaseException):
    """Ends a run in the middle of a stage, as a kill would."""


class Interrupter(Log):
    """Ends the run at the third step of a stage."""

    def progress(self, done: int, total: int, what: str) -> None:
        super().progress(done, total, what)
        if done == 3:
            raise Interrupted


def test_a_recipe_changed_in_mid_training_begins_the_training_anew(
    finished: tuple[Path, Path],
) -> None:
    recipe, folder = finished
    changed = load_recipe(recipe, ["finetune.learning_rate=1.0e-4"])
    with pytest.raises(Interrupted):
        run(changed, folder, until="finetune", reporter=Interrupter())
    assert (folder / "finetune.checkpoint.safetensors").exists()
    run(load_recipe(recipe, ["finetune.epochs=1"]), folder, until="finetune")
    assert not (folder / "finetune.checkpoint.safetensors").exists()


def test_a_folder_of_tables_serves_the_conditions_at_hand(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, folder = finished
    tables = tmp_path / "tables"
    table = load_json(LatencyTable, folder / "latency.json")
    (folder / "latency.json").unlink()
    save_json(table, table_path(tables, table.conditions))
    run(load_recipe(recipe, [f"latency.table={tables}"]), folder, until="profile")
    assert load_json(LatencyTable, folder / "latency.json") == table


def test_a_budget_below_the_fastest_plan_ends_the_command_with_code_2(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, folder = finished
    command = ["depthopt", "solve", str(recipe), "--run-dir", str(folder), "--speedup", "50"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "is below the fastest plan" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_killed_in_a_stage_and_started_again_it_ends_the_same(
    stage: str, finished: tuple[Path, Path]
) -> None:
    """SIGKILL at a random moment of each stage; tables, plan and weights are bit-identical.

    The stages before are taken from the undisturbed run.
    """
    recipe, folder = finished
    undisturbed = {name: (folder / name).read_bytes() for name in (*WEIGHTS, *VALUES)}
    for later in stages.STAGES[STAGE_NAMES.index(stage) :]:
        for output in later.outputs:
            (folder / output).unlink()
    command = [sys.executable, "-m", "depthopt", "run", str(recipe), "--run-dir", str(folder)]
    path = os.pathsep.join(filter(None, sys.path))  # with the packages of the tests
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"{stage} ..."):
            time.sleep(random.Random(stage).uniform(0, 1.5))
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    for name, content in undisturbed.items():
        assert (folder / name).read_bytes() == content, name
    assert (folder / "result.json").exists()


def test_the_papers_estimator_is_resumed_entry_by_entry(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    changed = load_recipe(
        recipe,
        [
            "importance.estimator=finetune",
            "importance.train_images=64",
            "importance.score_images=50",
            "importance.images=64",
            "candidates.kinds=[drop]",
            "budget.speedup=1.1",
        ],
    )
    real, calls = work.finetune, []

    def stopped(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(work, "finetune", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(changed, folder, until="estimate")
    context = run(changed, folder, until="solve")
    scored = [c for c in context.worthwhile if c.kind != "keep"]
    assert context.importance.estimator == "finetune"
    assert context.importance.images == 50
    assert "scored on 50 training images" in context.importance.protocol
    assert "reduced" in context.importance.protocol
    assert len(context.importance.entries) == len(scored)
    assert len(calls) == len(scored) + 1, "only the entry that was stopped is trained again"
    assert not context.path("importance.partial.json").exists()


def test_a_short_training_may_go_to_other_processes(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = finished
    changed = load_recipe(recipe, ["importance.estimator=finetune", "importance.train_images=64"])
    sent = []

    def sends(*_: object, **options: Any) -> object:
        sent.append(cloudpickle.dumps(options["train"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "estimate", sends)
    with ConsoleReporter(Console()) as reporter, pytest.raises(KeyboardInterrupt):
        run(changed, folder, until="estimate", reporter=reporter)
    assert sent, "a terminal's locks cannot be sent"
