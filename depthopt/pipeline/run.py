"""Run a recipe's stages in order, and skip those that are done."""

import contextlib
import logging
import time
from pathlib import Path

from torch import nn

from depthopt.core import digests
from depthopt.core.artefacts import load_json
from depthopt.core.writing import remove_left_overs, write_bytes
from depthopt.data.dataset import Dataset
from depthopt.errors import ArtefactError
from depthopt.models.names import require_allowed
from depthopt.pipeline.context import Context, Reporter
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.given import named, require_same
from depthopt.pipeline.kept import say_left_out
from depthopt.pipeline.lock import lock
from depthopt.pipeline.overridden import say_at_odds
from depthopt.pipeline.own_metric import require_function
from depthopt.pipeline.processes import Processes
from depthopt.pipeline.recipe import Recipe, recipe_yaml
from depthopt.pipeline.requirements import WITHOUT_DATA, require_enough
from depthopt.pipeline.result import Result
from depthopt.pipeline.share import share
from depthopt.pipeline.stages import STAGES, Stage
from depthopt.train.state import check_state

logger = logging.getLogger(__name__)

STAGE_NAMES = tuple(stage.name for stage in STAGES)


class Silent:
    """A reporter that ignores everything."""

    def started(self, stage: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int, what: str) -> None:
        """Say nothing."""

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        """Say nothing."""

    def skipped(self, stage: str) -> None:
        """Say nothing."""


def run(
    recipe: Recipe,
    folder: Path,
    *,
    until: str = "result",
    reporter: Reporter | None = None,
    start_from: Path | None = None,
    allow_code: bool = False,
    model: nn.Module | None = None,
    data: Dataset | None = None,
) -> Context:
    """Run a recipe's stages up to one of them, in a folder that remembers what is done.

    A stage is done again only if its settings or the files that it reads have changed.

    In processes that ``accelerate launch`` started, all train together; every other stage is
    the main one's, and the others read what it wrote.

    Args:
        recipe: what to do.
        folder: of this run; made if it does not exist.
        until: the last stage to carry out.
        reporter: receives the progress.
        start_from: another run's folder, of which what still holds is taken over first: the
            original's weights, its chain, and the tables; it stays as it is.
        allow_code: whether code may run that the recipe says makes the network.
        model: the original in memory, trained; the recipe's name is then ``memory``, or what
            ``memory_name`` calls it, and a run that goes on must be given the same.
        data: of ``given_dataset``, where the recipe's ``data.source`` is its name.

    Returns:
        The run's context, whose properties read the artefacts.

    Raises:
        UsageError: another run is at work in a folder; ``start_from`` is not a run's; code may not
            run; or the network or the data in memory are missing, or others.
        DepthoptError: whatever a stage could not do.
    """
    recipe = named(recipe, model)
    require_allowed(recipe.network, allow_code=allow_code)
    if recipe.own_metric is not None:
        require_function(recipe.own_metric, allow_code=allow_code)
    require_same(recipe, folder)
    processes = Processes()
    reporter = reporter if reporter and processes.is_main else Silent()
    if processes.is_main:
        say_at_odds(recipe)
    with lock(folder) if processes.is_main else contextlib.nullcontext():
        if processes.is_main:
            for written in {(folder / name).parent for stage in STAGES for name in stage.outputs}:
                remove_left_overs(written)
            if start_from is not None:
                taken = share(start_from, RunFolder(folder), recipe)
                logger.info("taken over from %s: %s", start_from, ", ".join(taken) or "nothing")
        if start_from is not None:
            processes.wait()
        context = Context(recipe, RunFolder(folder), reporter, processes, allow_code, model, data)
        return _walked(context, until)


def _walked(context: Context, until: str) -> Context:
    recipe, reporter, processes = context.recipe, context.reporter, context.processes
    context.require_runtime()
    looked_through = False
    for stage in STAGES[: STAGE_NAMES.index(until) + 1]:
        with processes.together() if stage.shared else processes.main_first():
            context.folder.reload()
            made_from = context.folder.digest(stage.settings(recipe), stage.inputs)
            if context.folder.is_done(stage.name, made_from, stage.outputs):
                reporter.skipped(stage.name)
            else:
                reporter.started(stage.name)
                if not looked_through and stage.name not in WITHOUT_DATA:
                    require_enough(context, until)
                    looked_through = True
                _carry_out(stage, context, made_from)
            if stage is STAGES[0] and processes.is_main:  # its network and data are there
                text = digests.signed(recipe_yaml(recipe.moved_to(context.folder.path)))
                write_bytes(context.path("recipe.yaml"), text.encode())
    return context


def _carry_out(stage: Stage, context: Context, made_from: str) -> None:
    main = context.processes.is_main
    if main:
        context.folder.discard_changed(stage.name, stage.outputs)
        for name in stage.sometimes:
            context.path(name).unlink(missing_ok=True)
        context.folder.start(stage.name, made_from, stage.checkpoint)
        if stage.shared and stage.checkpoint is not None:
            _discard_unusable(context.path(stage.checkpoint), made_from)
    if stage.shared:
        context.processes.wait()
    begin = time.monotonic()
    summary = stage.work(context)
    seconds = time.monotonic() - begin
    if main:
        written = stage.written(context.folder.path)
        context.folder.finish(stage.name, made_from, written, seconds)
    context.reporter.finished(stage.name, seconds, summary)


def _discard_unusable(checkpoint: Path, made_from: str) -> None:
    """Delete the checkpoint of a training that a stage cannot go on from."""
    if not checkpoint.exists():
        return
    try:
        check_state(checkpoint, made_from)
    except ArtefactError as error:
        say_left_out(error, checkpoint)
        checkpoint.unlink(missing_ok=True)


def result(folder: Path) -> Result:
    """The result of a finished run."""
    return load_json(Result, folder / "result.json")
