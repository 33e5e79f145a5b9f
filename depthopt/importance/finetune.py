"""The papers' estimator: put one candidate in place, train briefly, measure the accuracy.

LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) and the depth-compression paper
before it (ICML 2023, https://arxiv.org/abs/2301.12187) score a candidate by
``exp(change of accuracy)`` after a short training of the whole network with only that
candidate in it. The solver's objective ``exp_accuracy`` makes that of the change kept here.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.core.tables import Importance, ImportanceTable
from depthopt.errors import DataError, TableError
from depthopt.rewrite.apply import apply
from depthopt.rewrite.build import Form

Train = Callable[[nn.Module], object]
"""Trains a network in place, briefly, the same way every time."""


def finetune_importance(
    model: nn.Module,
    chain: Chain,
    candidates: Sequence[Candidate],
    *,
    train: Train,
    fitting: Collection[Tensor],
    held_out: Collection[tuple[Tensor, Tensor]],
    form: Form = "merged",
    table: ImportanceTable | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_update: Callable[[ImportanceTable], None] | None = None,
) -> ImportanceTable:
    """Train the network with each candidate in place, and see what it then gets right.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        candidates: what may replace its segments.
        train: the short training.
        fitting: batches of images (N, C, H, W) that fitted convolutions start from.
        held_out: batches of images and labels (N,) to measure the accuracy on.
        form: whether a ``merge`` is trained as one convolution or ``expanded``.
        table: entries that are known already; they are not trained again.
        progress: called with the number of candidates done, and of all.
        on_update: called with the table after every candidate, to be stored.

    Returns:
        The table. An entry's cost is the share of held-out images that it loses, 0 where
        it loses none.

    Raises:
        DataError: no held-out images.
        TableError: ``table`` is of another network, estimator or number of images.
    """
    images = sum(len(labels) for _, labels in held_out)
    if not images:
        raise DataError("the finetune estimator needs held-out images and labels; got none")
    known = ImportanceTable(chain.model, "finetune", images) if table is None else table
    if (known.model, known.estimator, known.images) != (chain.model, "finetune", images):
        raise TableError(
            f"the importance table to go on from is of {known.model} by {known.estimator} on "
            f"{known.images} images, expected {chain.model} by finetune on {images}; move it away"
        )
    original = _losses(model, held_out)
    scored = [candidate for candidate in candidates if candidate.kind != "keep"]
    for done, candidate in enumerate(scored):
        if progress is not None:
            progress(done, len(scored))
        if candidate.key in known.entries:
            continue
        network = apply(model, chain, _alone(chain, candidate), calibration=fitting, form=form)
        train(network)
        loss, accuracy = _losses(network, held_out)
        change = 100 * (accuracy - original[1])
        entry = Importance(max(0.0, -change / 100), None, loss - original[0], change)
        known = replace(known, entries=known.entries | {candidate.key: entry})
        if on_update is not None:
            on_update(known)
    if progress is not None:
        progress(len(scored), len(scored))
    return known


def _alone(chain: Chain, candidate: Candidate) -> Plan:
    """The plan that replaces one segment only."""
    blocks = kept_blocks(chain)
    choices = (*blocks[: candidate.start], candidate, *blocks[candidate.end :])
    return Plan(chain.model, chain.input_size, choices, 0.0, 0.0, 0.0)


@torch.no_grad()
def _losses(network: nn.Module, held_out: Collection[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean cross-entropy, in nats, and share of images classified right."""
    training = network.training
    network.eval()
    loss, correct, images = 0.0, 0, 0
    for batch, labels in held_out:
        logits = network(batch)
        loss += float(nn.functional.cross_entropy(logits.double(), labels, reduction="sum"))
        correct += int((logits.argmax(1) == labels).sum())
        images += len(labels)
    network.train(training)
    return loss / images, correct / images
