"""The definition of a task: one value that tells every stage how good a network is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, fx

from depthopt.core.metric import Metric
from depthopt.data.dataset import Batch, Dataset

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A callable that mixes the images and targets of a training batch."""


class Settings(Protocol):
    """The part of a training's configuration that tasks use. See ``depthopt.TrainConfig``."""

    @property
    def distillation(self) -> float:
        """Weight of the teacher's answer against the target."""
        ...

    @property
    def temperature(self) -> float:
        """Divisor of a classifier's outputs when compared with the teacher's."""
        ...

    @property
    def label_smoothing(self) -> float:
        """Share of a label's probability that is spread over all classes."""
        ...

    @property
    def mixup(self) -> float:
        """Alpha of the Beta distribution that images are mixed by."""
        ...

    @property
    def cutmix(self) -> float:
        """The same for pasting a part of one image into another."""
        ...


TrainingLoss = Callable[[Tensor, Tensor | None, Tensor | None, Settings], Tensor]
"""(outputs, targets, teacher's outputs, settings): what a step lowers, a mean over the examples.
Targets or teacher may be None."""

RegressHead = Callable[[fx.GraphModule, Iterable[Batch], Iterable[Batch], Settings], object]
"""(network, fitting, held_out, settings): changes a network's last layer in place."""


def weighed(hard: Tensor | None, soft: Tensor | None, settings: Settings) -> Tensor:
    """``(1 - w) * hard + w * soft``, with w the distillation; one of the two alone if that is all.

    Args:
        hard: the loss against targets; None where there are none.
        soft: the loss against the teacher's outputs; None where there is no teacher.
        settings: of the training.
    """
    if hard is not None and soft is not None:
        return (1 - settings.distillation) * hard + settings.distillation * soft
    one = soft if hard is None else hard
    assert one is not None  # noqa: S101 - narrows Tensor | None: data has one or the other
    return one


@dataclass(frozen=True, slots=True)
class Chance:
    """The metric of the best answer that does not depend on the inputs.

    Attributes:
        metric: of the best such one.
        margin: what is better by no more than this is as good as chance.
    """

    metric: float
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A network's task, and how its outputs are judged.

    Only ``name``, ``metric``, ``divergence``, ``loss`` and ``measure`` must be given. Outputs are
    the tensor that the network gives, (N, ...), or of several the numbers of all, (N, numbers);
    targets are what the data has for them, (N, ...).

    Attributes:
        name: in recipes and files: letters, digits, ``_`` and ``-``, beginning with a letter.
        metric: what is reported.
        divergence: (outputs, original's): how far they are from the original network's, summed
            over the examples; 0 where they are the same.
        loss: (outputs, targets): what is wrong with them, summed over the examples.
        measure: (outputs, targets): the metric, summed over the examples, before its scale; or,
            with ``total``, whatever tensor of sums the metric is made of.
        total: (``measure``, summed over all examples): the metric, before its scale. None for a
            mean over the examples.
        further: more figures for the result, by name: (outputs, targets): summed over the examples.
        training_loss: see ``TrainingLoss``; by default ``loss`` against targets and ``divergence``
            from the teacher's outputs, weighed by ``distillation``.
        output: the name of the output in exported files.
        width: (data): how many numbers a network is to give for an example; None where the data
            does not say.
        maps: whether it gives so many maps instead, (N, width, rows, columns).
        why_unfit: (outputs, data): why outputs cannot be judged by the data's targets, and what to
            do; None if they can. It is asked with the outputs for one example.
        check_targets: (outputs, targets): raises a ``DataError`` for targets that no such output
            can be judged by.
        unseen: (data): what of the task the calibration examples do not show, for a warning; None
            if they show everything.
        chance: (targets): see ``Chance``; None where nothing is known of it.
        figures: names under which programs that train keep the metric beside a checkpoint's
            weights; a share may be out of 1 there.
        mixer: (settings, data): what mixes the batches of a training; None if nothing does.
        regress_head: see ``RegressHead``; None if there is no such regression.
        imitates: whether targets are what the original gives; then the data need have none, and
            the original is not trained.
        scaled: of a task that imitates, (the original's outputs for the calibration examples, in
            batches; how many numbers each of several outputs has for an example): the task as it
            judges a run's networks; None where it judges all alike.
    """

    name: str
    metric: Metric
    divergence: Callable[[Tensor, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: Callable[[Tensor, Tensor], Tensor]
    total: Callable[[Tensor], float] | None = None
    further: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)
    training_loss: TrainingLoss | None = None
    output: str = "output"
    width: Callable[[Dataset], int | None] = lambda _: None
    maps: bool = False
    why_unfit: Callable[[Tensor, Dataset], tuple[str, str] | None] = lambda *_: None
    check_targets: Callable[[Tensor, Tensor], None] = lambda *_: None
    unseen: Callable[[Dataset], str | None] = lambda _: None
    chance: Callable[[Tensor], Chance | None] = lambda _: None
    figures: tuple[str, ...] = ()
    mixer: Callable[[Settings, Dataset], Mixer | None] = lambda *_: None
    regress_head: RegressHead | None = None
    imitates: bool = False
    scaled: "Callable[[Iterable[Tensor], Sequence[int]], Task] | None" = None

    def figure(self, measured: Tensor, examples: int) -> float:
        """The metric, from the sum of ``measure`` over this many examples."""
        if self.total is not None:
            return self.metric.scale * self.total(measured)
        return self.metric.scale * float(measured) / examples

    def step_loss(
        self,
        outputs: Tensor,
        targets: Tensor | None,
        teacher: Tensor | None,
        settings: Settings,
    ) -> Tensor:
        """The loss of a training step, a mean over the examples.

        Args:
            outputs: (N, ...).
            targets: (N, ...); None where there are none, and then a teacher is needed.
            teacher: the teacher's outputs, or None.
            settings: of the training.
        """
        if self.training_loss is not None:
            return self.training_loss(outputs, targets, teacher, settings)
        hard, soft = (
            None if wanted is None else far(outputs, wanted) / len(outputs)
            for far, wanted in ((self.loss, targets), (self.divergence, teacher))
        )
        return weighed(hard, soft, settings)
