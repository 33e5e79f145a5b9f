"""Evaluate a network on examples with targets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from depthopt.core.inputs import count, moved
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.graph.outputs import output_of
from depthopt.tasks.registry import DEFAULT, task_of
from depthopt.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        metric: the task's, such as the accuracy in points of 100: the share of images whose largest
            logit is the label's.
        loss: the task's, a mean; of classification the cross-entropy in nats.
        images: number of examples it was measured on.
        losses: each example's, in order, where they were asked for.
        further: the task's further figures, means by name.
    """

    metric: float
    loss: float
    images: int
    losses: tuple[float, ...] = ()
    further: Mapping[str, float] = field(default_factory=dict)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    task: Task | str = DEFAULT,
    each: bool = False,
) -> Evaluation:
    """Measure ``model`` in eval mode, on its device. Its mode is restored afterwards.

    Args:
        model: from images ``(n, channels, height, width)``, or named inputs, to outputs
            ``(n, ...)``, of classification logits ``(n, classes)``.
        batches: inputs and targets, such as ``split.batches(batch_size)``.
        task: what the network is for.
        each: give every example's loss too.

    Raises:
        DataError: there are no examples, or some have no targets, or targets that do not fit what
            the network gives.
    """
    task = task_of(task)
    like = next(model.parameters(), torch.zeros(()))
    modes, further = {m: m.training for m in model.modules()}, dict.fromkeys(task.further, 0.0)
    model.eval()
    images, measured, loss, losses = 0, torch.zeros((), dtype=torch.float64), 0.0, list[float]()
    try:
        for inputs, answers in batches:
            if answers is None:
                raise DataError("cannot evaluate: the examples have no targets")
            outputs = output_of(model, moved(inputs, like)).float()
            targets = answers.to(like.device)
            task.check_targets(outputs, targets)
            loss += task.loss(outputs, targets).item()
            for name, figure in task.further.items():
                further[name] += figure(outputs, targets).item()
            measured = measured + task.measure(outputs, targets).double().cpu()
            images += count(inputs)
            if each:
                ones = (slice(i, i + 1) for i in range(len(outputs)))
                losses += [task.loss(outputs[one], targets[one]).item() for one in ones]
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not images:
        raise DataError("no images to evaluate on; give a split with at least one")
    metric = task.figure(measured, images)
    return Evaluation(
        metric=metric,
        loss=loss / images,
        images=images,
        losses=tuple(losses),
        further={name: total / images for name, total in further.items()},
    )
