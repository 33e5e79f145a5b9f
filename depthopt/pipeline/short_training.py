"""The data that an estimate by ``finetune`` trains and scores on."""

from dataclasses import dataclass

from depthopt.core.workload import Workload
from depthopt.data.dataset import Dataset, Split
from depthopt.pipeline.context import Context
from depthopt.pipeline.protocol import protocol
from depthopt.pipeline.sections import ImportanceSection
from depthopt.train.finetune import training_workload


@dataclass(frozen=True, slots=True)
class ShortTraining:
    """The parts of a run's data, the same for every candidate.

    Attributes:
        fitted: training images that regressions may see; none of those scored on.
        data: with the train split of the short training.
        scored: what candidates are scored on.
        protocol: the short training and the scoring, in words.
    """

    fitted: Split
    data: Dataset
    scored: Split
    protocol: str


def short_training(run: Context) -> ShortTraining:
    """For ``finetune``, the data that the recipe asks for. For other estimators, all data."""
    section, data = run.recipe.importance, run.examples
    if section.estimator != "finetune":
        return ShortTraining(data.train, data, data.calibration, "")
    scored, held_out = data.calibration, "calibration"
    images = shares(section, len(data.train))
    if section.score_images is not None:
        (data, scored), held_out = run.without(images[1]), "training"
    trained = run.train_data(images[0], data)
    words = protocol(
        section.train,
        train_images=len(trained.train),
        score_images=len(scored),
        held_out=held_out,
        start=run.recipe.apply.start,
    )
    return ShortTraining(data.train, trained, scored, words)


def shares(section: ImportanceSection, images: int) -> tuple[int, int]:
    """How many of the training images are trained on, and how many scored on.

    Where there are fewer than the two ask for, they are shared out in proportion; where none would
    be left to train on, in halves.
    """
    if section.score_images is None:
        return min(section.train_images or images, images), 0
    trained, scored = section.train_images, section.score_images
    if trained is None:  # all others
        scored = scored if scored < images else images // 2
        return images - scored, scored
    if trained + scored <= images:
        return trained, scored
    scored = max(1, images * scored // (trained + scored))
    return images - scored, scored


def remark(run: Context) -> str | None:
    """That there are fewer images than a short training asks for, in a sentence; None if not."""
    section, images = run.recipe.importance, len(run.data.train)
    trained, scored = shares(section, images)
    asked = (section.train_images or trained) + (section.score_images or 0)
    if section.estimator != "finetune" or section.score_images is None or asked <= images:
        return None
    return (
        f"importance.train_images and score_images ask for {asked} training images, but there "
        f"are {images}: candidates are trained on {trained} and scored on {scored}"
    )


def short_training_workload(
    section: ImportanceSection, *, images: int, parameters: int
) -> Workload:
    """The work of one candidate's short training.

    Args:
        section: the recipe's.
        images: in the train split.
        parameters: of the network.
    """
    return training_workload(
        section.train,
        images=max(1, shares(section, images)[0]),
        parameters=parameters,
        distilled=bool(section.train.distillation),
    )
