"""Small runs in processes of their own, that are killed, and what must be the same of two runs.

The processes are forked from one that has imported all that a run needs: a kill costs what the
stage had done until then, and no more.
"""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from depthopt.core.artefacts import load_json
from depthopt.core.chain import Chain
from depthopt.latency import bench
from depthopt.latency.measure import Effort, time_in_turn
from depthopt.pipeline import measure, picking
from depthopt.pipeline.context import CandidateList
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import STAGE_NAMES, run
from tests.pipeline.small_run import Log, write_recipe, write_table

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.runs"])

OUT = Path("out")
"""Of a run, in the folder of its recipe: where that lies is written into results."""

END = "the end"

MEASURED = ("latency={}",)
"""Changes to the recipe that make a run measure its latencies."""

FINETUNED_A_LITTLE = (
    "budget={speedup: 1.5}",
    "trials.steps=2",
    "apply={images: 320, classifier: false, compensate: false}",
)
"""Changes to the recipe that make a run try plans."""

TIMES = {
    "result.json": {"speedup", "latency", "conditions", "warnings"},
    "finetuned/history.json": {"seconds", "images_per_s", "waited_s"},
}
"""What is another in every run, by file: keys at any depth."""


@dataclass(frozen=True)
class Job:
    """A run in a process of its own.

    Attributes:
        folder: with the recipe.
        overrides: changes to it.
        until: the last stage.
        states: where the run's folder is copied to as each stage begins, if anywhere.
        at: a stage, and what is called in the process as it begins.
    """

    folder: Path
    overrides: tuple[str, ...] = ()
    until: str = "result"
    states: Path | None = None
    at: tuple[str, Callable[[], None]] | None = None


class _Teller(Log):
    """Tells another process which stage begins."""

    def __init__(self, to: Connection, job: Job) -> None:
        super().__init__()
        self.to, self.job = to, job

    def started(self, stage: str) -> None:
        super().started(stage)
        if self.job.states is not None:
            shutil.copytree(OUT, self.job.states / stage, ignore=shutil.ignore_patterns(".lock"))
        if self.job.at is not None and self.job.at[0] == stage:
            self.job.at[1]()
        self.to.send(stage)


def hasty() -> None:
    """Time things for a moment only: no test here asks how fast anything is."""
    short = Effort(seconds=0.2, warmup_s=0.02)
    measure.time_in_turn = partial(time_in_turn, effort=short)  # type: ignore[attr-defined]
    bench._GRAPH_US = 50.0
    as_predicted = contextlib.nullcontext(lambda plan: plan.speedup**1.2)
    picking.plan_timer = lambda *_, **__: as_predicted  # type: ignore[assignment]


def _work(job: Job, to: Connection) -> None:
    os.chdir(job.folder)
    hasty()
    try:
        recipe = load_recipe(Path("small.yaml"), list(job.overrides))
        run(recipe, OUT, until=job.until, reporter=_Teller(to, job))
    except Exception as error:
        to.send(error)
    else:
        to.send(None)


def said(job: Job) -> Iterator[tuple[Any, Any]]:
    """Start a job; its process, and what it says: stages, and at last an error or None."""
    here, there = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_work, args=(job, there))
    process.start()
    there.close()
    try:
        while True:
            try:
                message = here.recv()
            except EOFError:
                return
            yield process, message
    finally:
        here.close()
        process.join()


def finish(job: Job) -> list[str]:
    """Carry a job out; the stages that it did."""
    *stages, error = [message for _, message in said(job)]
    if error is not None:
        raise error
    return stages


def kill_in(job: Job, stage: str, delay_s: float) -> str | None:
    """Kill a job so long after a stage has begun; the stage that it was in, None if it ended."""
    last = None
    messages = said(job)
    for process, message in messages:
        last = message
        if message == stage:
            time.sleep(delay_s)
            process.kill()
            break
    for _, message in messages:
        last = message
    return last if isinstance(last, str) else None


def kill_once(job: Job, path: Path) -> None:
    """Kill a job as soon as a file is there."""
    for process, message in said(job):
        while process.is_alive() and not path.exists():
            time.sleep(0.001)
        process.kill()
        assert not isinstance(message, Exception), message


def fill(folder: Path, overrides: tuple[str, ...] = (), until: str = "result") -> None:
    """An undisturbed run, and its folder as it was when each stage began."""
    with contextlib.chdir(folder):
        write_recipe(Path())
    _filled(folder, overrides, until)


def fill_given(folder: Path, overrides: tuple[str, ...]) -> None:
    """The same with a table of the latencies of whatever the recipe then lists."""
    with contextlib.chdir(folder):
        write_recipe(Path())
    finish(Job(folder, overrides, "extract"))
    found = load_json(CandidateList, folder / OUT / "candidates.json").candidates
    write_table(load_json(Chain, folder / OUT / "chain.json"), folder / "table.json", found)
    shutil.rmtree(folder / OUT)
    _filled(folder, overrides, "result")


def _filled(folder: Path, overrides: tuple[str, ...], until: str) -> None:
    stages = finish(Job(folder, overrides, until, folder / "states"))
    assert tuple(stages) == STAGE_NAMES[: len(stages)]


def begin_at(undisturbed: Path, stage: str, folder: Path) -> Path:
    """A folder as an undisturbed run had it when a stage began, or at its end."""
    if folder.exists():
        shutil.rmtree(folder)
    state = undisturbed / OUT if stage == END else undisturbed / "states" / stage
    shutil.copytree(state, folder / OUT)
    for name in ("small.yaml", "table.json"):
        shutil.copy(undisturbed / name, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def difference(undisturbed: Path, other: Path, *, so_far: bool = False) -> list[str]:
    """The files of two runs that are not the same, but for times.

    Args:
        undisturbed: the folder of a finished run.
        other: that of the other one.
        so_far: whether that one is not finished; what it lacks is then not counted.
    """
    before, after = files(undisturbed / OUT), files(other / OUT)
    return sorted(
        name
        for name in (after.keys() if so_far else before.keys() | after.keys())
        if name not in ({"manifest.json", "exports.json"} if so_far else {"manifest.json"})
        and _timeless(name, before.get(name)) != _timeless(name, after.get(name))
    )


def _timeless(name: str, content: bytes | None) -> Any:
    """A file's content, less what is another in every run."""
    if content is None or name not in TIMES:
        return content
    return _without(json.loads(content), TIMES[name] | {"sha256"})


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value


@dataclass
class Kills:
    """Kills that are counted by the stage that they fell into."""

    seed: str
    by_stage: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def one(self, job: Job, stage: str, seconds: float) -> bool:
        """Kill a job in or just behind a stage of that length; whether it was still running."""
        found = kill_in(job, stage, self.random.uniform(0, 1.1 * seconds))
        if found is not None:
            self.by_stage[found] += 1
        return found is not None

    def __str__(self) -> str:
        counted = ", ".join(f"{s} {self.by_stage[s]}" for s in STAGE_NAMES if self.by_stage[s])
        return f"{self.by_stage.total()} kills: {counted}"
