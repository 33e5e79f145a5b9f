"""The papers' estimator: put one candidate in place, train briefly, measure the accuracy.

LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) and the depth-compression paper before it
(ICML 2023, https://arxiv.org/abs/2301.12187) train the whole network for one epoch over a part of
the training images, with only that candidate in it and its activations there at once, and measure
by how much the accuracy changes on other training images. What each makes of the change is the
solver's objective: ``exp_metric`` and ``metric`` (``frontier.lookup``).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.plan import Plan
from depthopt.data.dataset import Batch
from depthopt.errors import DataError
from depthopt.graph.trace import nodes_by_name
from depthopt.importance.workers import one_thread
from depthopt.kinds.alone import alone
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import module_name
from depthopt.rewrite.options import Form, Start
from depthopt.shallow.apply import apply
from depthopt.tables.importance import Importance
from depthopt.tasks.evaluate import Evaluation, evaluate
from depthopt.tasks.task import Task

Train = Callable[[nn.Module], object]
"""A callable that trains a network briefly in place, the same way every time."""


@dataclass(frozen=True, slots=True)
class Finetune:
    """Trains the network with one candidate in place, and measures the metric.

    An entry's cost is the loss of the metric divided by its scale. For the accuracy, this is the
    share of held-out images that is lost. It is 0 where nothing is lost.

    A kept block's entry is that of the network with its layer initialised again, and trained like
    the others: the papers measure a single layer so, in every state of its ends (the authors'
    ``measure_imp`` calls ``reset_layers``). The convolution's weights and bias are drawn as torch
    does, and the scale, shift, mean and variance of its norm are reset. The rest is the original's.
    Where a candidate begins or ends in another state than the original, the activation there has
    come or gone too, while it is trained and measured.

    Attributes:
        model: the original network; it is not changed.
        chain: its chain.
        train: the short training.
        fitting: batches of inputs that fitted convolutions start from.
        held_out: batches of inputs and targets to measure on.
        form: whether a ``merge`` is trained as one convolution or ``expanded``.
        task: what the network is for.
        original: how the original does on the held-out images.
        start: how inserted activations begin.
        seed: seed of layers that are initialised again, the same for every candidate.
        fresh: whether a block that is merged alone, since an activation comes or goes behind it, is
            initialised again too. A kept one always is.
    """

    model: nn.Module
    chain: Chain
    train: Train
    fitting: Collection[Inputs]
    held_out: Collection[Batch]
    form: Form
    task: Task
    original: Evaluation
    start: Start = "annealed"
    seed: int = 0
    fresh: bool = False

    def __call__(self, part: tuple[Candidate, ...]) -> dict[Candidate, Importance]:
        """Compute the entries of some candidates."""
        with one_thread():
            return {candidate: self._entry(candidate) for candidate in part}

    def _entry(self, candidate: Candidate) -> Importance:
        network = apply(
            self.model,
            self.chain,
            _alone(self.chain, candidate),
            fitting=self.fitting,
            form=self.form,
            compensated=False,
            start=self.start,
        )
        if not candidate.replaces or (self.fresh and _is_single(candidate)):
            _initialise(network, self.chain, candidate, self.seed)
        self.train(network)
        found, metric = evaluated(network, self.held_out, self.task), self.task.metric
        change = metric.gain(self.original.metric, found.metric)
        loss_increase = found.loss - self.original.loss
        return Importance(max(0.0, -change / metric.scale), None, loss_increase, change)


def _alone(chain: Chain, candidate: Candidate) -> Plan:
    """The plan that replaces one segment only."""
    return Plan(chain.model, chain.input_size, alone(chain, candidate), 0.0, 0.0, 0.0)


def _is_single(candidate: Candidate) -> bool:
    """Whether it is one block's convolution."""
    return candidate.end - candidate.start == 1 and kind_of(candidate).is_composition(candidate)


def _initialise(network: fx.GraphModule, chain: Chain, candidate: Candidate, seed: int) -> None:
    """Draw a block's convolution again, and reset its norm."""
    block, modules = chain.blocks[candidate.start], dict(network.named_modules())
    if candidate.replaces:
        layers = list(modules[module_name(candidate)].modules())
    else:
        norm = modules.get(str(nodes_by_name(network)[block.linear].target))
        layers = [*modules[block.name].modules(), *([] if norm is None else [norm])]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in dict.fromkeys(layers):
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()


def evaluated(network: nn.Module, held_out: Iterable[Batch], task: Task) -> Evaluation:
    """Evaluate a network on held-out images.

    Raises:
        DataError: some have no labels.
    """
    return evaluate(network, _labelled(held_out), task=task)


def _labelled(held_out: Iterable[Batch]) -> Iterator[Batch]:
    for inputs, targets in held_out:
        if targets is None:
            raise DataError("the finetune estimator needs the held-out images' labels")
        yield inputs, targets
