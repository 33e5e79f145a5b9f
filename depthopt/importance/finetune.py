"""The papers' estimator: put one candidate in place, train briefly, measure the accuracy.

LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) and the depth-compression paper
before it (ICML 2023, https://arxiv.org/abs/2301.12187) score a candidate by
``exp(change of accuracy)`` after a short training of the whole network with only that
candidate in it. The solver's objective ``exp_accuracy`` makes that of the change kept here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.plan import Plan
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.rewrite.options import Form
from depthopt.shallow.apply import apply
from depthopt.tables.importance import Importance
from depthopt.tasks.evaluate import Evaluation, evaluate
from depthopt.tasks.task import Task

Train = Callable[[nn.Module], object]
"""Trains a network in place, briefly, the same way every time."""


@dataclass(frozen=True, slots=True)
class Finetune:
    """Trains the network with one candidate in place, and sees what it then gets right.

    An entry's cost is by how much the metric gets worse, over its scale: of the accuracy the share
    of held-out images that is lost. It is 0 where nothing is lost.

    Attributes:
        model: the original network; it is not changed.
        chain: its chain.
        train: the short training.
        fitting: batches of inputs that fitted convolutions start from.
        held_out: batches of inputs and targets to measure on.
        form: whether a ``merge`` is trained as one convolution or ``expanded``.
        task: what the network is for.
        original: how the original does on the held-out images.
    """

    model: nn.Module
    chain: Chain
    train: Train
    fitting: Collection[Inputs]
    held_out: Collection[Batch]
    form: Form
    task: Task
    original: Evaluation

    def __call__(self, part: tuple[Candidate, ...]) -> dict[Candidate, Importance]:
        """The entries of some candidates, none of kind ``keep``."""
        return {candidate: self._entry(candidate) for candidate in part}

    def _entry(self, candidate: Candidate) -> Importance:
        network = apply(
            self.model,
            self.chain,
            _alone(self.chain, candidate),
            fitting=self.fitting,
            form=self.form,
            compensated=False,
        )
        self.train(network)
        found, metric = evaluated(network, self.held_out, self.task), self.task.metric
        change = metric.gain(self.original.metric, found.metric)
        loss_increase = found.loss - self.original.loss
        return Importance(max(0.0, -change / metric.scale), None, loss_increase, change)


def _alone(chain: Chain, candidate: Candidate) -> Plan:
    """The plan that replaces one segment only."""
    blocks = kept_blocks(chain)
    choices = (*blocks[: candidate.start], candidate, *blocks[candidate.end :])
    return Plan(chain.model, chain.input_size, choices, 0.0, 0.0, 0.0)


def evaluated(network: nn.Module, held_out: Iterable[Batch], task: Task) -> Evaluation:
    """How a network does on held-out images.

    Raises:
        DataError: some have no labels.
    """
    return evaluate(network, _labelled(held_out), task=task)


def _labelled(held_out: Iterable[Batch]) -> Iterator[Batch]:
    for inputs, targets in held_out:
        if targets is None:
            raise DataError("the finetune estimator needs the held-out images' labels")
        yield inputs, targets
