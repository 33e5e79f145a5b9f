"""Every file that is read back, damaged in five ways: made again, or refused, and never used.

``pytest tests/faults -m faults``; the seeds are the files' names.
"""

import contextlib
import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from depthopt.check.history import read as read_history
from depthopt.core import digests
from depthopt.core.artefacts import load_json
from depthopt.core.chain import Chain
from depthopt.errors import ArtefactError
from depthopt.export.noted import check_noted
from depthopt.export.saved import load
from depthopt.pipeline import picking, work
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.report.reading import WRITTEN_BY, read_run
from depthopt.tables.latency import LatencyTable
from tests.check.test_history import history
from tests.faults.damage import WAYS, Damage, exchanged, same_json
from tests.faults.runs import (
    END,
    FINETUNED_A_LITTLE,
    MEASURED,
    OUT,
    Job,
    begin_at,
    difference,
    files,
    hasty,
    kill_once,
)  # fmt: skip

pytestmark = pytest.mark.faults

FINISHED = (
    "teacher.safetensors", "chain.json", "candidates.json", "latency.json", "original.onnx",
    "importance.json", "frontier.json", "plan.json", "applied/model.json",
    "applied/model.safetensors", "finetuned/model.json", "finetuned/model.safetensors",
    "finetuned/history.json", "fused/model.json", "fused/model.safetensors", "fused.onnx",
    "fused/model.onnx", "result.json", "manifest.json", "recipe.yaml", "exports.json",
    "fused/exports.json",
)  # fmt: skip
"""Files of a finished run: all of them, which a test makes sure of."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process are hasty, and what is said once of a file is said every time."""
    from depthopt.latency import bench
    from depthopt.pipeline import measure

    monkeypatch.setattr(bench, "_GRAPH_US", bench._GRAPH_US)
    monkeypatch.setattr(picking, "plan_timer", picking.plan_timer)
    monkeypatch.setattr(measure, "time_in_turn", measure.time_in_turn)
    hasty()


def damages(path: Path, other: Path) -> Iterator[tuple[str, Damage, random.Random]]:
    """The five ways, for a file and another run's."""
    for way, damage in {**WAYS, "exchanged": exchanged(other)}.items():
        yield way, damage, random.Random(f"{path.name} {way}")


def resumed(folder: Path, *overrides: str, until: str = "result") -> None:
    """Carry the run of a folder on, from within."""
    with contextlib.chdir(folder):
        run(load_recipe(Path("small.yaml"), list(overrides)), OUT, until=until)


def test_all_files_of_a_finished_run_are_damaged_here(undisturbed: Path) -> None:
    assert files(undisturbed / OUT).keys() == set(FINISHED)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_runs_file_is_made_again_or_refused(
    name: str,
    undisturbed: Path,
    another: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    outcomes = Counter[str]()
    folder = tmp_path / "run"
    for way, damage, chance in damages(Path(name), another / OUT / name):
        begin_at(undisturbed, END, folder)
        path = folder / OUT / name
        whole = path.read_bytes()
        damage(path, chance)
        if path.read_bytes() == whole:  # another run's is the same
            outcomes[f"{way}: the same file"] += 1
            continue
        caplog.clear()
        if name.endswith("exports.json"):  # which a run does not read
            outcomes[f"{way}: {_read_notes(path)}"] += 1
            continue
        if name in WRITTEN_BY:
            with pytest.raises(ArtefactError, match=r"start the run again"):
                read_run(folder / OUT)
        refused = _refused(lambda: resumed(folder))
        if refused:
            assert name == "manifest.json"
            assert str(OUT / name) in refused
            outcomes[f"{way}: refused"] += 1
            continue
        if name == "manifest.json":  # it is another run's, or the name of its digest was hit
            told = "carries no sha256", "was changed after the stage"
            assert any(each in caplog.text for each in told)
        elif name != "recipe.yaml":
            assert f"{name} was changed after the stage" in caplog.text
        assert difference(undisturbed, folder) == [], f"{way}: used"
        outcomes[f"{way}: made again"] += 1
    assert outcomes.total() == 5
    record_property("summary", f"{name}: {dict(outcomes)}")


def _refused(read: Callable[[], object]) -> str:
    """What is said where a file is refused; empty where it is not."""
    try:
        read()
    except ArtefactError as error:
        return str(error)
    return ""


def _read_notes(path: Path) -> str:
    """What becomes of files that are noted in a damaged note."""
    refused = [_refused(partial(check_noted, noted)) for noted in path.parent.glob("*.onnx")]
    return "refused" if any(refused) else "of the same value"


PARTIAL = {
    "teacher.checkpoint.safetensors": ("teacher", ()),
    "latency.json": ("profile", MEASURED),
    "importance.partial.json": ("estimate", ()),
    "trials.json": ("solve", FINETUNED_A_LITTLE),
    "finetune.checkpoint.safetensors": ("finetune", ()),
}
"""What a stage keeps while it works: the stage, and changes to the recipe that make it."""


@pytest.fixture
def begun(
    request: pytest.FixtureRequest,
    undisturbed: Path,
    another: Path,
    tmp_path: Path,
) -> tuple[Path, Path]:
    """Folders of two runs that were killed in a stage, once it had kept something."""
    name = request.getfixturevalue("name")
    stage, overrides = PARTIAL[name]
    begun = []
    for of, seed in ((undisturbed, "seed=0"), (another, "seed=1")):
        folder = begin_at(of, stage, tmp_path / of.name)
        path = folder / OUT / name
        while not path.exists() or _is_finished(folder, stage):
            begin_at(of, stage, folder)
            kill_once(Job(folder, (*overrides, seed), until=stage), path)
        begun.append(folder)
    return begun[0], begun[1]


def _is_finished(folder: Path, stage: str) -> bool:
    from depthopt.pipeline.folder import RunFolder

    return stage in RunFolder(folder / OUT).manifest.stages


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", PARTIAL)
def test_what_a_stage_kept_is_worked_out_again(
    name: str,
    begun: tuple[Path, Path],
    undisturbed: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    stage, overrides = PARTIAL[name]
    outcomes = Counter[str]()
    for way, damage, chance in damages(Path(name), begun[1] / OUT / name):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun[0], folder)
        path = folder / OUT / name
        whole = path.read_bytes()
        damage(path, chance)
        same = same_json(whole, path.read_bytes())
        digests._tell_of_none.cache_clear()
        caplog.clear()
        resumed(folder, *overrides, until=stage)
        said = [m for m in caplog.messages if path.name in m]
        assert said or same, f"{way}: in silence"
        if not overrides:
            before, after = (files(each / OUT) for each in (undisturbed, folder))
            done = {n: c for n, c in after.items() if n.endswith(("json", "tensors", "onnx"))}
            for n in done.keys() - {"manifest.json", "finetuned/history.json", "exports.json"}:
                assert done[n] == before[n], f"{way}: {n}"
        again = any(m.endswith("is computed again") for m in said)
        outcomes[f"{way}: {'made again' if again else 'of the same value'}"] += 1
    record_property("summary", f"{name}, partial: {dict(outcomes)}")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "model.onnx"])
def test_a_saved_networks_file_is_refused(
    name: str,
    undisturbed: Path,
    another: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    outcomes, wanted = Counter[str](), load(undisturbed / OUT / "fused").state_dict()
    for way, damage, chance in damages(Path(name), another / OUT / "fused" / name):
        folder = tmp_path / way
        shutil.copytree(undisturbed / OUT / "fused", folder)
        damage(folder / name, chance)
        digests._tell_of_none.cache_clear()
        noted = _refused(partial(check_noted, folder / "model.onnx"))
        if refused := noted or _refused(partial(load, folder)):
            assert name in refused or "model.safetensors" in refused
            outcomes[f"{way}: refused"] += 1
            continue
        found = load(folder).state_dict()
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
        outcomes[f"{way}: of the same value"] += 1
    assert sum(outcomes.values()) == 5
    record_property("summary", f"saved {name}: {dict(outcomes)}")


@pytest.mark.parametrize("name", ["table.json", "chain.json"])
def test_an_artefact_by_itself_is_refused(
    name: str,
    undisturbed: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    """By itself another run's is as good as any: four ways, eight times each."""
    outcomes = Counter[str]()
    kind, source = (
        (LatencyTable, undisturbed / name)
        if name == "table.json"
        else (Chain, undisturbed / OUT / name)
    )
    wanted = load_json(kind, source)
    for way, damage in WAYS.items():
        for i in range(8):
            path = tmp_path / f"{way}{i}.json"
            shutil.copy(source, path)
            damage(path, random.Random(f"{name} {way} {i}"))
            caplog.clear()
            try:
                found = load_json(kind, path)
            except ArtefactError:
                outcomes[f"{way}: refused"] += 1
                continue
            assert found == wanted
            assert caplog.messages or same_json(source.read_bytes(), path.read_bytes())
            outcomes[f"{way}: of the same value"] += 1
    record_property("summary", f"{name}: {dict(outcomes)}")


def test_a_historys_line_is_left_out(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    outcomes = Counter[str]()
    caplog.set_level(logging.WARNING)
    whole = history(tmp_path / "whole.jsonl", [1.0, 1.01, 1.02])
    wanted = read_history(whole)
    for way, damage in WAYS.items():
        for i in range(8):
            path, line = tmp_path / f"{way}{i}", tmp_path / "line"
            lines = whole.read_bytes().splitlines(keepends=True)
            line.write_bytes(lines[1])
            damage(line, random.Random(f"{way} {i}"))
            path.write_bytes(lines[0] + line.read_bytes())
            if not path.read_bytes().endswith(b"\n"):
                path.write_bytes(path.read_bytes() + b"\n")
            path.write_bytes(path.read_bytes() + lines[2])
            caplog.clear()
            found = read_history(path)
            if found == wanted:
                outcomes[f"{way}: of the same value"] += 1
            else:
                assert found == (wanted[0], wanted[2])
                assert caplog.messages or line.read_bytes().strip() == b""
                outcomes[f"{way}: left out"] += 1
    record_property("summary", f"history: {dict(outcomes)}")


def test_work_names_what_is_partial() -> None:
    names = {work.TEACHER_CHECKPOINT, work.ESTIMATE_CHECKPOINT, picking.TRIALS}
    assert names | {work.FINETUNE_CHECKPOINT, "latency.json"} == set(PARTIAL)
