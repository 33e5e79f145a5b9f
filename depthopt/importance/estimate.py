"""The importance table of a network's candidates, by one of several estimators."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.tables import ImportanceTable
from depthopt.errors import UsageError
from depthopt.importance.fit import fit_importance
from depthopt.importance.magnitude import magnitude_importance
from depthopt.rewrite.regression import RIDGES

Estimator = Literal["fit", "magnitude"]


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
    progress: Callable[[int, int], None] | None = None,
) -> ImportanceTable:
    """Estimate what each candidate alone costs in accuracy.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        candidates: what may replace its segments; ``keep`` costs nothing.
        estimator: ``fit`` regresses each new convolution on data and runs the rest of the
            network behind it; ``magnitude`` adds up the weights that go.
        fitting: batches of images (N, C, H, W) to regress on, gone through once or more.
        held_out: batches of images and labels (N,) to score on, gone through once.
        ridges: relative regularisations to choose from on held-out images.
        memory_bytes: bound on the accumulated Gram matrices.
        progress: called with steps done and steps in all.

    Raises:
        UsageError: an unknown estimator.
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
            fitting=list(fitting),
            held_out=list(held_out),
            ridges=ridges,
            memory_bytes=memory_bytes,
            progress=progress,
        )
    raise UsageError(f"estimator {estimator!r} is unknown; known: fit, magnitude")
