"""Copy what still holds from another run: the original's weights, its chain, and the tables.

Files are copied, so that either folder stays whole without the other; the other one is only read.
A stage is taken over under the same condition as within a folder: it is done there, from just what
the new run's recipe says, and its files are as it left them. Plans and networks are not: they are
what a new run is for, and ``result.json`` names files of its own folder.
"""

import logging
from pathlib import Path

from depthopt.core import digests
from depthopt.core.writing import write_bytes
from depthopt.errors import ArtefactError, UsageError
from depthopt.export.noted import note
from depthopt.pipeline.folder import RunFolder
from depthopt.pipeline.lock import reading
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.stages import STAGES, Stage

logger = logging.getLogger(__name__)

SHARED = ("teacher", "extract", "profile", "estimate")
"""The stages that may be copied, in order."""

BESIDE = ("explored.json",)
"""Other files that were made from all of these stages, copied if all of them still hold."""

_ORIGINAL = "original.onnx"


def share(source: Path, folder: RunFolder, recipe: Recipe) -> tuple[str, ...]:
    """Copy what still holds from another run.

    What is done in the new run's folder already stays. Where candidates or their kinds differ, the
    latencies that were measured are copied as a table to continue from.

    Args:
        source: the other run's folder, which is only read.
        folder: of the new run, locked.
        recipe: of the new run.

    Returns:
        The stages that were taken over.

    Raises:
        UsageError: the folder is not a run's, is the new run's, or is in use.
        ArtefactError: a file of it is damaged, or changed while it was copied.
    """
    if source.resolve() == folder.path.resolve():
        raise UsageError(f"--from {source} is the run's own folder; name another by --run-dir")
    found = []
    with reading(source):
        other = RunFolder(source)
        if not other.manifest.started:
            raise UsageError(f"--from {source} is not a run's folder: no stage was begun in it")
        for stage in (each for each in STAGES if each.name in SHARED):
            made_from = other.digest(stage.settings(recipe), stage.inputs)
            if not other.is_done(stage.name, made_from, stage.outputs):
                _say_why(stage, other)
                break
            if not folder.is_done(stage.name, made_from, stage.outputs):
                _copy(other, folder, tuple(other.manifest.stages[stage.name].outputs))
                if stage.checkpoint is not None:
                    folder.file(stage.checkpoint).unlink(missing_ok=True)
                folder.take_over(other, stage.name)
                found.append(stage.name)
        else:
            _take_beside(other, folder)
        _take_latencies(other, folder)
    return tuple(found)


def _say_why(stage: Stage, other: RunFolder) -> None:
    if stage.name in other.manifest.stages:
        why = "has other settings, or one of its files has changed"
    else:
        why = "is not done"
    logger.warning("in %s the stage %s %s: it is done here", other.path, stage.name, why)


def _take_beside(other: RunFolder, folder: RunFolder) -> None:
    for name in BESIDE:
        if other.file(name).is_file() and not folder.file(name).exists():
            write_bytes(folder.file(name), other.file(name).read_bytes())


def _take_latencies(other: RunFolder, folder: RunFolder) -> None:
    """Copy measured latencies that ``profile`` may go on from, if there are none yet."""
    name = "latency.json"
    record = other.manifest.stages.get("profile")
    if record is None or folder.file(name).exists() or other.why_changed(name) is not None:
        return
    if record.outputs.get(name) == digests.of_file(other.file(name)):
        write_bytes(folder.file(name), other.file(name).read_bytes())
        folder.note_begun("profile", other.begun("profile"))


def _copy(other: RunFolder, folder: RunFolder, names: tuple[str, ...]) -> None:
    for name in names:
        content = other.file(name).read_bytes()
        told = next(
            record.outputs[name]
            for record in other.manifest.stages.values()
            if name in record.outputs
        )
        if digests.of_bytes(content) != told:
            raise ArtefactError(f"{other.file(name)} changed while it was copied; start again")
        write_bytes(folder.file(name), content)
        if name == _ORIGINAL:
            note(folder.file(name))
