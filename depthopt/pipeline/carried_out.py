"""A plan's network with no training: replaced, regressed on data, its last layer too."""

from collections.abc import Collection

from depthopt.core.inputs import bytes_of
from depthopt.core.kept import Kept
from depthopt.core.plan import Plan
from depthopt.data.dataset import Batch, Repeated
from depthopt.graph.network import TracedNetwork
from depthopt.pipeline.context import Context
from depthopt.rewrite.side_by_side import HELD_OUT_EVERY
from depthopt.shallow.apply import apply


def regressed_on(run: Context) -> Kept[Batch]:
    """The images that ``carried_out`` regresses on, kept for several plans."""
    images = run.recipe.apply.images
    batches = run.train_batches(images, least=HELD_OUT_EVERY)
    return Kept(batches, lambda batch: bytes_of(batch[0]))


def carried_out(
    run: Context, plan: Plan, batches: Collection[Batch] | None = None
) -> TracedNetwork:
    """A plan's network with no training, as the recipe's ``apply`` says.

    Args:
        run: of the original network and the data.
        plan: what becomes of it.
        batches: what it is regressed on, if ``regressed_on`` gave it already.
    """
    section, batches = run.recipe.apply, regressed_on(run) if batches is None else batches
    network = apply(
        run.teacher,
        run.chain,
        plan,
        fitting=Repeated(lambda: (inputs for inputs, _ in batches), len(batches)),
        form=section.form,
        ridges=run.recipe.importance.ridges,
        compensated=section.compensate,
        start=section.start,
        progress=run.reporter.progress,
    )
    if section.head and run.task.regress_head is not None:
        run.task.regress_head(network, batches, run.held_out(), run.recipe.finetune)
    return network
