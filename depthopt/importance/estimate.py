"""The importance table of a network's candidates, by one of several estimators."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.tables import ImportanceTable
from depthopt.errors import UsageError
from depthopt.importance.finetune import Train, finetune_importance
from depthopt.importance.fit import fit_importance
from depthopt.importance.magnitude import magnitude_importance
from depthopt.rewrite.build import Form
from depthopt.rewrite.calibration import repeatable
from depthopt.rewrite.regression import RIDGES

Estimator = Literal["fit", "finetune", "magnitude"]


def estimate(
    model: nn.Module,
    chain: Chain,
    candidates: Sequence[Candidate],
    *,
    estimator: Estimator = "fit",
    fitting: Iterable[Tensor] = (),
    held_out: Iterable[tuple[Tensor, Tensor]] = (),
    ridges: Sequence[float] = RIDGES,
    memory_bytes: int = 2**30,
    train: Train | None = None,
    form: Form = "merged",
    table: ImportanceTable | None = None,
    on_update: Callable[[ImportanceTable], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportanceTable:
    """Estimate what each candidate alone costs in accuracy.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        candidates: what may replace its segments; ``keep`` costs nothing.
        estimator: ``fit`` regresses each new convolution on data and runs the rest of the
            network behind it; ``finetune`` trains the network briefly with each candidate
            in place, as the papers do; ``magnitude`` adds up the weights that go.
        fitting: batches of images (N, C, H, W) to regress on, gone through once or more.
            Memory does not grow with their number where they are made anew for each
            pass: see ``depthopt.rewrite.calibration.repeatable``.
        held_out: batches of images and labels (N,) to score on, likewise.
        ridges: relative regularisations to choose from on held-out images.
        memory_bytes: bound on the accumulated Gram matrices.
        train: for ``finetune``, the short training, for instance
            ``lambda network: depthopt.finetune(network, data, config=config)``.
        form: for ``finetune``, whether a ``merge`` is trained as one convolution or
            ``expanded``.
        table: for ``finetune``, entries that are known already.
        on_update: for ``finetune``, called with the table after every entry.
        progress: called with steps done and steps in all.

    Raises:
        UsageError: an unknown estimator, or ``finetune`` without ``train``.
        DataError: no images, or tensors that are not finite.
        ModelError: the chain was made for another model.
    """
    if estimator == "magnitude":
        return magnitude_importance(model, chain, candidates)
    if estimator == "fit":
        return fit_importance(
            model,
            chain,
            candidates,
            fitting=repeatable(fitting),
            held_out=repeatable(held_out),
            ridges=ridges,
            memory_bytes=memory_bytes,
            progress=progress,
        )
    if estimator == "finetune":
        if train is None:
            raise UsageError("the finetune estimator needs a short training; give train=")
        return finetune_importance(
            model,
            chain,
            candidates,
            train=train,
            fitting=repeatable(fitting),
            held_out=repeatable(held_out),
            form=form,
            table=table,
            progress=progress,
            on_update=on_update,
        )
    raise UsageError(f"estimator {estimator!r} is unknown; known: fit, finetune, magnitude")
