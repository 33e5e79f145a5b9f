"""The papers' estimator: put one candidate in place, train briefly, measure the accuracy.

LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) and the depth-compression paper
before it (ICML 2023, https://arxiv.org/abs/2301.12187) score a candidate by
``exp(change of accuracy)`` after a short training of the whole network with only that
candidate in it. The solver's objective ``exp_accuracy`` makes that of the change kept here.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.importance.score import LabelledOrNot
from depthopt.rewrite.options import Form
from depthopt.shallow.apply import apply
from depthopt.tables.importance import Importance
from depthopt.tasks.evaluate import Evaluation, evaluate

Train = Callable[[nn.Module], object]
"""Trains a network in place, briefly, the same way every time."""


@dataclass(frozen=True, slots=True)
class Finetune:
    """Trains the network with one candidate in place, and sees what it then gets right.

    An entry's cost is the share of held-out images that it loses, 0 where it loses none.

    Attributes:
        model: the original network; it is not changed.
        chain: its chain.
        train: the short training.
        fitting: batches of images (N, C, H, W) that fitted convolutions start from.
        held_out: batches of images and labels (N,) to measure the accuracy on.
        form: whether a ``merge`` is trained as one convolution or ``expanded``.
        original: how the original does on the held-out images.
    """

    model: nn.Module
    chain: Chain
    train: Train
    fitting: Collection[Tensor]
    held_out: Collection[LabelledOrNot]
    form: Form
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
        found = evaluated(network, self.held_out)
        change = found.accuracy - self.original.accuracy
        loss_increase = found.loss - self.original.loss
        return Importance(max(0.0, -change / 100), None, loss_increase, change)


def _alone(chain: Chain, candidate: Candidate) -> Plan:
    """The plan that replaces one segment only."""
    blocks = kept_blocks(chain)
    choices = (*blocks[: candidate.start], candidate, *blocks[candidate.end :])
    return Plan(chain.model, chain.input_size, choices, 0.0, 0.0, 0.0)


def evaluated(network: nn.Module, held_out: Iterable[LabelledOrNot]) -> Evaluation:
    """How a network does on held-out images.

    Raises:
        DataError: some have no labels.
    """
    return evaluate(network, _labelled(held_out))


def _labelled(held_out: Iterable[LabelledOrNot]) -> Iterator[Batch]:
    for images, labels in held_out:
        if labels is None:
            raise DataError("the finetune estimator needs the held-out images' labels")
        yield images, labels
