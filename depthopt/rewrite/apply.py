"""A plan carried out: the shallow network, its new convolutions fitted left to right."""

from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.errors import DataError, UsageError
from depthopt.graph.network import TracedNetwork
from depthopt.graph.partial import record
from depthopt.graph.trace import trace
from depthopt.rewrite.build import Form, build
from depthopt.rewrite.calibration import repeatable
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.regression import RIDGES, Regression, best_fits

HELD_OUT_EVERY, MOST_HELD_OUT = 5, 4
"""Of so many calibration batches, one is held out to choose the regularisation by, but no
more than so many: these are kept in memory, all others are not."""


def apply(
    model: nn.Module,
    chain: Chain,
    plan: Plan,
    *,
    calibration: Iterable[Tensor] | None = None,
    form: Form = "merged",
    ridges: Iterable[float] = RIDGES,
    progress: Callable[[int, int], None] | None = None,
) -> TracedNetwork:
    """Carry out a plan: a trainable network with every replacement in place.

    Fitted convolutions are regressed left to right, each on the *compressed* network's own
    input against the original's pre-activation tensor at the segment's end, so that
    errors do not pile up.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        plan: a plan over that chain.
        calibration: batches of images (N, C, H, W), gone through once per fitted
            segment; needed if the plan holds a ``fit``. See ``calibration.repeatable``.
        form: whether a ``merge`` becomes one convolution or stays ``expanded``.
        ridges: relative regularisations to choose from on held-out batches.
        progress: called with the number of segments fitted, and of all.

    Raises:
        ModelError: chain or plan were made for another model.
        UsageError: the plan holds a ``fit`` and there is no calibration data.
        DataError: too few calibration images for a kernel.
    """
    graph_module, names = build(model, chain, plan, form)
    fits = [choice for choice in plan.replaced if choice.kind == "fit"]
    if fits and calibration is None:
        raise UsageError(f"the plan fits {len(fits)} segments on data; give calibration images")
    teacher = trace(model, chain.input_size)
    fold_norms(teacher, keep_nodes=True)
    batches = repeatable(calibration or ())
    for done, choice in enumerate(fits):
        if progress is not None:
            progress(done, len(fits))
        _refit(graph_module, teacher, chain, choice, names[choice], batches, tuple(ridges))
    if progress is not None:
        progress(len(fits), len(fits))
    return graph_module


def _refit(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    chain: Chain,
    choice: Candidate,
    name: str,
    batches: Collection[Tensor],
    ridges: tuple[float, ...],
) -> None:
    """Regress one new convolution in place."""
    assert choice.spec is not None  # noqa: S101 - a fit always has one
    pairs = _Pairs(student, teacher, chain, choice, name)
    regression = Regression(choice.spec, {name: choice.spec.out_channels})
    held_out: list[tuple[Tensor, Tensor]] = []
    for index, images in enumerate(batches):
        inputs, wanted = pairs(images)
        if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 and len(held_out) < MOST_HELD_OUT:
            held_out.append((inputs, wanted))
        else:
            regression.add(inputs, {name: wanted})
    if not held_out:
        raise DataError(
            f"{len(batches)} calibration batches are too few to fit {choice.key}: one in "
            f"{HELD_OUT_EVERY} is held out; give at least {HELD_OUT_EVERY} batches"
        )
    inputs, wanted = (torch.cat(tensors) for tensors in zip(*held_out, strict=True))
    fitted = best_fits(regression, choice.spec, inputs, {name: wanted}, ridges)[name]
    conv = student.get_submodule(name)
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None  # noqa: S101, PT018
    with torch.no_grad():
        conv.weight.copy_(fitted.weight)
        conv.bias.copy_(fitted.bias)


class _Pairs:
    """What a new convolution sees, and what it should give, for a batch of images."""

    def __init__(
        self,
        student: fx.GraphModule,
        teacher: fx.GraphModule,
        chain: Chain,
        choice: Candidate,
        name: str,
    ) -> None:
        self._student, self._teacher = student, teacher
        self._wanted = chain.ending(choice.start, choice.end).preactivation
        node = next(n for n in student.graph.nodes if n.target == name)
        self._input = node.all_input_nodes[0].name
        self._added = tuple(_added_to(node, len(chain.open_skips(choice.start, choice.end))))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen = record(self._student, images, {self._input, *self._added})
        wanted = record(self._teacher, images, {self._wanted})[self._wanted]
        for name in self._added:
            wanted = wanted - seen[name]
        return seen[self._input], wanted


def _added_to(node: fx.Node, adds: int) -> Iterator[str]:
    """The names of the tensors that the next ``adds`` additions add to ``node``."""
    for _ in range(adds):
        (user,) = node.users
        left, right = user.all_input_nodes
        yield (right if left is node else left).name
        node = user
