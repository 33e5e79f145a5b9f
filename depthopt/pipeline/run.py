"""Walking a recipe's stages in order, past those that are done."""

import time
from pathlib import Path

from depthopt.core.artefacts import load_json
from depthopt.pipeline.context import Context, Reporter
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.result import Result
from depthopt.pipeline.stages import STAGES

STAGE_NAMES = tuple(stage.name for stage in STAGES)


class Silent:
    """A reporter that says nothing."""

    def started(self, stage: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int, what: str) -> None:
        """Say nothing."""

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        """Say nothing."""

    def skipped(self, stage: str) -> None:
        """Say nothing."""


def run(
    recipe: Recipe, folder: Path, *, until: str = "result", reporter: Reporter | None = None
) -> Context:
    """Carry a recipe out up to one stage, in a folder that remembers what is done.

    A stage is done again only if its settings or the files that it reads have changed.

    Args:
        recipe: what to do.
        folder: of this run; made if it does not exist.
        until: the last stage to carry out.
        reporter: is told what happens.

    Returns:
        The run's context, whose properties read the artefacts.

    Raises:
        DepthoptError: whatever a stage could not do.
    """
    context = Context(recipe, RunFolder(folder), reporter or Silent())
    context.runtime  # noqa: B018 - an unknown runtime shall not show after an hour of training
    for stage in STAGES[: STAGE_NAMES.index(until) + 1]:
        made_from = context.folder.digest(stage.settings(recipe), stage.inputs)
        if context.folder.is_done(stage.name, made_from):
            context.reporter.skipped(stage.name)
            continue
        context.reporter.started(stage.name)
        context.folder.start(stage.name, made_from, stage.checkpoint)
        begin = time.monotonic()
        summary = stage.work(context)
        context.folder.finish(stage.name, made_from, stage.outputs)
        context.reporter.finished(stage.name, time.monotonic() - begin, summary)
    return context


def result(folder: Path) -> Result:
    """The result of a finished run."""
    return load_json(Result, folder / "result.json")
