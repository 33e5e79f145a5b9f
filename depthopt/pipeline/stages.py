"""The stages of a run: what each is made from, what it writes, and its work."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthopt.kinds.registry import KINDS
from depthopt.models.names import digest_of_code, told_as
from depthopt.pipeline import picking, work
from depthopt.pipeline.context import Context
from depthopt.pipeline.methods import DEPTHOPT
from depthopt.pipeline.overridden import told
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.sections import ImportanceSection
from depthopt.tables.similarity import SIMILARITIES


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also the command's.
        settings: the part of a recipe that its result depends on.
        inputs: artefacts of earlier stages that it reads.
        outputs: artefacts that it writes.
        work: does it and returns one line about it.
        checkpoint: where it keeps what it has while it works, if it does.
        shared: whether all of a run's processes work at it together.
        sometimes: artefacts that it writes for some recipes only.
    """

    name: str
    settings: Callable[[Recipe], Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    work: Callable[[Context], str]
    checkpoint: str | None = None
    shared: bool = False
    sometimes: tuple[str, ...] = ()

    def written(self, folder: Path) -> tuple[str, ...]:
        """The artefacts that it wrote."""
        return (*self.outputs, *(name for name in self.sometimes if (folder / name).exists()))


def _saved(folder: str) -> tuple[str, str]:
    return f"{folder}/model.json", f"{folder}/model.safetensors"


WITHOUT_EFFECT = {
    "data": {"workers", "check"},
    "importance": {"workers", "address"},
    "teacher": {"trackers", "checkpoint_every_s"},
    "finetune": {"trackers", "checkpoint_every_s"},
}
"""Keys that do not change results, such as where work is done."""


def _of(*sections: str) -> Callable[[Recipe], Any]:
    return lambda recipe: recipe.settings({*sections, "seed", "task"}, WITHOUT_EFFECT)


_DATA = ("model", "data")


def _extracting(recipe: Recipe) -> Any:
    """What is listed; and the data, where kinds want to know how similar blocks are."""
    return _of(*(_DATA if work.wants_similarities(recipe) else ()), "candidates")(recipe)


def _solving(recipe: Recipe) -> Any:
    """What is solved and picked; of trials all that they depend on, too."""
    solving = {"budget", "pick", "solver"}
    if recipe.picked != "tried":
        return _of(*solving)(recipe)
    trials = (*_DATA, *solving, "trials", "apply")
    if recipe.trials.steps:
        return [_of(*trials, "finetune")(recipe), recipe.importance.ridges]
    smoothing = recipe.finetune.label_smoothing
    return [_of(*trials)(recipe), recipe.importance.ridges, smoothing]


_OF_TRAINING = ("train", "train_images", "score_images")
"""Keys of ``importance`` that ``finetune`` reads."""


def _estimating(recipe: Recipe) -> Any:
    """What candidates are scored by; of trained ones how inserted activations begin, too.

    What stands in a segment's place is regressed where plans compensate.

    What is said of a short training is nothing to an estimator without one.
    """
    apply, trained = recipe.apply, recipe.importance.estimator == "finetune"
    if not trained:
        usual = {key: ImportanceSection.model_fields[key].default for key in _OF_TRAINING}
        section = recipe.importance.model_copy(update=usual)
        recipe = recipe.model_copy(update={"importance": section})
    settings = [_of(*_DATA, "importance")(recipe), _of("apply")(recipe)["apply"]["form"]]
    kinds = map(KINDS.get, recipe.candidates.kinds)
    if not (trained or apply.compensate) and any(kind.stand_in is not None for kind in kinds):
        settings.append("not compensated")
    return [*settings, apply.start] if trained and apply.start != "annealed" else settings


def _resulting(recipe: Recipe) -> Any:
    """The data and the device; of a method that is named what the result says of it, too."""
    settings = _of(*_DATA, "latency")(recipe)
    if recipe.own_metric is not None:
        settings = [settings, told_as(recipe.metric or ""), digest_of_code(recipe.own_metric)]
    if recipe.method == DEPTHOPT:
        return settings
    return [settings, recipe.picked, told(recipe), _of("importance")(recipe)]


STAGES: tuple[Stage, ...] = (
    Stage(
        "teacher",
        _of(*_DATA, "teacher"),
        (),
        ("teacher.safetensors",),
        work.run_teacher,
        work.TEACHER_CHECKPOINT,
        shared=True,
    ),
    Stage(
        "extract",
        _extracting,
        ("teacher.safetensors",),
        ("chain.json", "candidates.json"),
        work.run_extract,
        sometimes=(SIMILARITIES,),
    ),
    Stage(
        "profile",
        _of("latency"),
        ("teacher.safetensors", "chain.json", "candidates.json"),
        ("latency.json", "original.onnx"),
        work.run_profile,
    ),
    Stage(
        "estimate",
        _estimating,
        ("teacher.safetensors", "chain.json", "candidates.json", "latency.json"),
        ("importance.json",),
        work.run_estimate,
        work.ESTIMATE_CHECKPOINT,
    ),
    Stage(
        "solve",
        _solving,
        ("teacher.safetensors", "chain.json", "candidates.json", "latency.json", "importance.json"),
        ("frontier.json", "plan.json"),
        work.run_solve,
        picking.TRIALS,
    ),
    Stage(
        "apply",
        lambda recipe: [
            _of(*_DATA, "apply")(recipe),
            recipe.importance.ridges,
            recipe.finetune.label_smoothing,
        ],
        ("teacher.safetensors", "chain.json", "plan.json"),
        _saved("applied"),
        work.run_apply,
    ),
    Stage(
        "finetune",
        _of(*_DATA, "finetune"),
        ("teacher.safetensors", "chain.json", "plan.json", *_saved("applied")),
        (*_saved("finetuned"), "finetuned/history.json"),
        work.run_finetune,
        work.FINETUNE_CHECKPOINT,
        shared=True,
    ),
    Stage("fuse", _of(*_DATA), _saved("finetuned"), _saved("fused"), work.run_fuse),
    Stage(
        "export",
        _of(*_DATA, "latency"),
        _saved("fused"),
        ("fused.onnx", "fused/model.onnx"),
        work.run_export,
    ),
    Stage(
        "result",
        _resulting,
        ("original.onnx", "fused.onnx", *_saved("applied"), *_saved("fused"), "plan.json"),
        ("result.json",),
        work.run_result,
    ),
)
