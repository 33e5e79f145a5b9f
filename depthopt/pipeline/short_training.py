"""What an estimate by ``finetune`` trains on, and scores on."""

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
    """Of ``finetune`` what the recipe asks for; of other estimators all, scored as ever.

    Raises:
        DataError: as many images are to be scored on as there are to train on.
    """
    section, data = run.recipe.importance, run.data
    if section.estimator != "finetune":
        return ShortTraining(data.train, data, data.calibration, "")
    scored, held_out = data.calibration, "calibration"
    if section.score_images is not None:
        (data, scored), held_out = run.without(section.score_images), "training"
    trained = run.train_data(section.train_images, data)
    words = protocol(
        section.train,
        train_images=len(trained.train),
        score_images=len(scored),
        held_out=held_out,
        start=run.recipe.apply.start,
    )
    return ShortTraining(data.train, trained, scored, words)


def short_training_workload(
    section: ImportanceSection, *, images: int, parameters: int
) -> Workload:
    """What the short training of one candidate takes.

    Args:
        section: the recipe's.
        images: in the train split.
        parameters: of the network.
    """
    left = max(1, images - (section.score_images or 0))
    return training_workload(
        section.train,
        images=min(left, section.train_images or left),
        parameters=parameters,
        distilled=bool(section.train.distillation),
    )
