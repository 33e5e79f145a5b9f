"""A small network explored: what is found, kept, gone on from, and refused."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthopt.core.artefacts import load_json
from depthopt.core.explored import Explored
from depthopt.core.plan import Plan
from depthopt.errors import UsageError
from depthopt.latency.measure import Effort
from depthopt.latency.timing import plan_timer
from depthopt.pipeline import attempts
from depthopt.pipeline import explore as exploring
from depthopt.pipeline.explore import explore
from depthopt.pipeline.pace import REDUCTIONS
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.pipeline.speed import Speed
from depthopt.report.accuracy import run_accuracy
from depthopt.report.reading import read_run
from tests.pipeline.small_run import Log

SPEEDUPS = (1.3, 2.0, 500.0)
TABLES = ("chain.json", "candidates.json", "latency.json", "importance.json")


@contextmanager
def as_predicted(*_: object, **__: object) -> Iterator[Callable[[Plan], float]]:
    """A timer that finds each plan as fast as predicted: nothing is built or exported."""
    yield lambda plan: plan.speedup


def hasten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempts, "EFFORT", Effort(seconds=0.1, warmup_s=0.02))
    patch.setattr(attempts, "_STEP", 1.5)
    patch.setattr(attempts, "_PACING_STEPS", 2)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    monkeypatch.setattr(attempts, "plan_timer", as_predicted)


@pytest.fixture
def seen(make_once: Callable[..., Path], finished: tuple[Path, Path], tmp_path: Path) -> Path:
    """The test's own copy of a finished run's folder that was explored; plans were timed."""
    recipe, folder = finished

    def fill(made: Path) -> None:
        shutil.copytree(folder, made / "out")
        with pytest.MonkeyPatch.context() as patch:
            hasten(patch)
            patch.setattr(attempts, "plan_timer", plan_timer)
            explore(load_recipe(recipe), made / "out", minutes=0.2, speedups=SPEEDUPS)

    return shutil.copytree(make_once("small-explored", fill) / "out", tmp_path / "explored")


def test_plans_are_carried_out_for_each_speed_up(seen: Path) -> None:
    found = load_json(Explored, seen / "explored.json")
    assert [asked.speedup for asked in found.asked] == list(SPEEDUPS)
    assert found.asked[-1].attempt is None
    assert found.fastest is not None
    assert found.fastest < 500
    assert found.reduction == 0, "the run has its tables"
    speeds = [found.attempts[asked.attempt].plan.speedup for asked in found.asked[:2]]
    assert speeds == sorted(speeds)
    for one in found.attempts:
        assert one.plan.replaced
        assert one.untrained is not None
        assert one.untrained.images == found.original.images == 128
        assert one.finetuned
        assert one.finetuned[0].steps <= found.steps
    assert found.reason


def test_a_finished_run_stays_finished_and_knows_its_accuracy(
    seen: Path, finished: tuple[Path, Path]
) -> None:
    recipe, before = finished
    log = Log()
    run(load_recipe(recipe), seen, reporter=log)
    assert log.done == []
    for name in (*TABLES, "frontier.json", "plan.json"):
        assert (seen / name).read_bytes() == (before / name).read_bytes()
    known = run_accuracy(read_run(seen))
    assert known is not None
    found = load_json(Explored, seen / "explored.json")
    assert known.original == found.original
    costs = {one.plan.cost for one in found.attempts}
    assert costs < {point.cost for point in known.points} or len(costs) == 2
    assert 1.0 in {point.share for point in known.points}, "the run's own result"


def test_what_is_explored_is_not_explored_again(
    seen: Path, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "finetune", lambda *_, **__: pytest.fail("was finetuned"))
    monkeypatch.setattr(attempts, "plan_timer", lambda *_, **__: pytest.fail("was timed"))
    before = load_json(Explored, seen / "explored.json")
    again = explore(load_recipe(finished[0]), seen, minutes=0.001, speedups=SPEEDUPS)
    assert replace(again, seconds=0.0) == replace(before, seconds=0.0)


def test_stopped_it_goes_on(finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder = load_recipe(finished[0]), finished[1]
    real, count = attempts.finetune, 0

    def finetune(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:  # one to see how long a step takes, and one plan
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(attempts, "finetune", finetune)
    with pytest.raises(KeyboardInterrupt):
        explore(recipe, folder, minutes=0.1, speedups=SPEEDUPS)
    half = load_json(Explored, folder / "explored.json")
    assert sum(bool(one.finetuned) for one in half.attempts) == 1
    assert half.recommended is None
    assert not (folder / ".lock").exists()
    monkeypatch.setattr(attempts, "plan_timer", lambda *_, **__: pytest.fail("was timed"))
    whole = explore(recipe, folder, minutes=0.1, speedups=SPEEDUPS)
    for one, other in zip(half.attempts, whole.attempts, strict=True):
        assert other.plan == one.plan
        assert set(one.finetuned) <= set(other.finetuned)
        assert other.finetuned


def test_a_recipe_that_takes_too_long_is_cut_down_and_the_run_goes_on_from_it(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, done = finished
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(done / "teacher.safetensors", folder)
    last = len(REDUCTIONS) - 1
    monkeypatch.setattr(exploring, "reduction_for", lambda *_, **__: last)
    told: list[str] = []
    loaded = load_recipe(recipe)
    found = explore(loaded, folder, minutes=0.1, speedups=(1.3,), say=told.append)
    assert found.reduction == last
    assert "the original is trained first: 10 steps" in told[0]
    assert "less is tried than the recipe says" in told[1]
    written = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert written["candidates"]["max_length"] == 6, "the recipe that is kept is whole"
    log = Log()
    run(loaded, folder, until="extract", reporter=log)
    assert log.skipped_stages == ["teacher"]
    assert log.done == ["extract"]
    log = Log()
    spent = found.seconds / 60  # so that nothing is left to go on with
    assert explore(loaded, folder, minutes=spent, speedups=(1.3,), reporter=log) == found
    assert log.done == [], "the run's own tables are left alone"
    assert read_run(folder).explored == found


def test_a_run_that_has_its_tables_is_not_cut_down(finished: tuple[Path, Path]) -> None:
    """On however slow a machine: its own tables would be written over."""
    slow = Speed(forward_s=1e3, step_s=1e3, step_bytes=1.0, macs64=1.0)
    context = run(load_recipe(finished[0]), finished[1], until="extract")
    assert exploring.reduction_for(context, slow, 1.0, 3) == 0
    other = load_recipe(finished[0], ["importance.images=128"])
    context = run(other, finished[1], until="extract")
    assert exploring.reduction_for(context, slow, 1.0, 3) == len(REDUCTIONS) - 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"minutes": 0}, "minutes is 0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"speedups": ()}, "got none"),
        ({"speedups": (2.0, -1.0)}, "speedup is -1.0"),
    ],
)
def test_what_cannot_be_explored_is_refused(
    given: dict[str, Any], says: str, finished: tuple[Path, Path]
) -> None:
    with pytest.raises(UsageError, match=says):
        explore(load_recipe(finished[0]), finished[1], **given)


def test_what_was_explored_of_another_original_is_left_out(seen: Path) -> None:
    assert read_run(seen).explored is not None
    (seen / "teacher.safetensors").write_bytes(b"another")
    left = [name for name in read_run(seen).notes if "explored.json is of another" in name]
    assert len(left) == 1
    assert read_run(seen).explored is None
