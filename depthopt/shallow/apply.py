"""Carry out a plan: fit new convolutions and compensate kept ones, from left to right."""

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import dropwhile

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.operators import Attention, Convolution, Mlp
from depthopt.core.plan import Plan
from depthopt.core.progress import Progress, silent
from depthopt.core.workload import Workload
from depthopt.data.repeatable import repeatable
from depthopt.errors import UsageError
from depthopt.graph.heap import kept_heap
from depthopt.graph.network import TracedNetwork
from depthopt.graph.trace import trace
from depthopt.graph.verify import EXAMPLES
from depthopt.kinds.network import convolution_and_norm
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import New, Weights
from depthopt.rewrite.affine import folded
from depthopt.rewrite.compensate import compensate
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.inner import inner_of
from depthopt.rewrite.inserted import start_as_identity
from depthopt.rewrite.options import Form, Start
from depthopt.rewrite.problem import Problem
from depthopt.rewrite.regression import Regression
from depthopt.rewrite.ridges import COMPENSATION_RIDGES, FIT_RIDGES, checked_ridges
from depthopt.rewrite.side_by_side import Place, SideBySide, observing_workload
from depthopt.shallow.build import build


@kept_heap()
def apply(
    model: nn.Module,
    chain: Chain,
    plan: Plan,
    *,
    fitting: Iterable[Inputs] | None = None,
    form: Form = "fused",
    ridges: Iterable[float] = FIT_RIDGES,
    compensated: bool = True,
    start: Start = "annealed",
    progress: Progress = silent,
) -> TracedNetwork:
    """Carry out a plan, and return a trainable network with every replacement in place.

    New convolutions are regressed left to right, each on the *compressed* network's own
    input against the original's pre-activation tensor at the segment's end, so that
    errors do not pile up. Those that a ``merge`` composes stay composed where regression
    gains nothing on held-out images.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        plan: a plan over that chain.
        fitting: batches of images (N, C, H, W), or of named inputs, gone through once per regressed
            convolution, or from memory where that suffices (``depthopt.graph.replay``); needed if
            the plan holds a ``fit``. See ``depthopt.data.repeatable``.
        form: whether a ``merge`` becomes one convolution or stays ``expanded``.
        ridges: relative regularisations to choose from on held-out batches.
        compensated: whether kept convolutions behind the first replacement are regressed
            too (``depthopt.rewrite.compensate``), if there are images.
        start: whether activations that the plan inserts begin as the identity and come
            into their own while the network is finetuned, or are there ``at_once``.
        progress: receives the layers regressed.

    Raises:
        ModelError: chain or plan were made for another model.
        UsageError: the plan holds a ``fit`` and there is no calibration data.
        DataError: too few calibration images for a kernel.
    """
    student, added = build(model, chain, plan, form)
    if start == "annealed":
        start_as_identity(student)
    problems = {choice: kind_of(choice).problem(choice, form) for choice in added}
    fresh = [problem for problem in problems.values() if problem and not problem.keeps_start]
    if fresh and fitting is None:
        raise UsageError(f"the plan fits {len(fresh)} segments on data; give calibration images")
    teacher = trace(model, chain.input_size, proven=False)  # build has
    narrowed = [choice for choice, problem in problems.items() if problem and problem.channels]
    starts = {choice: kind_of(choice).start(teacher, chain, choice) for choice in narrowed}
    fold_norms(teacher, keep_nodes=True)
    batches = repeatable(fitting or ())
    todo = [
        choice
        for choice in dropwhile(lambda choice: not choice.replaces, plan.choices)
        if problems.get(choice) or (compensated and kind_of(choice).adjusted(choice) is not None)
    ]
    if not batches:
        todo = []
    alike = next((chain.blocks[choice.start].input for choice in plan.replaced), None)
    networks, ridges = SideBySide(student, teacher, batches, alike), checked_ridges(ridges)
    for done, choice in enumerate(todo):
        progress(done, len(todo), "layers regressed")
        if (problem := problems.get(choice)) is not None:
            held_to = starts.get(choice)
            _refit(networks, chain, choice, added[choice], problem, ridges, held_to)
        elif (block := kind_of(choice).adjusted(choice)) is not None:
            compensate(networks, chain, block, choice.end)
    progress(len(todo), len(todo), "layers regressed")
    return student


def apply_workload(
    chain: Chain, images: int, *, ridges: Collection[float], compensated: bool
) -> Workload:
    """The most work that ``apply`` takes for this many images.

    Every layer is regressed, and as large as the original's.
    """
    solves = max(len(ridges), len(COMPENSATION_RIDGES) if compensated else 0)
    observing = observing_workload(chain, images, solves)
    regressing = Workload()
    for block in chain.blocks:
        pixels = images * math.prod(block.layout.output_size)
        channels = block.layout.out_channels
        layer = block.operator
        if isinstance(layer, Attention | Mlp):
            layer = Convolution(layer.hidden, channels, (1, 1))
        if isinstance(layer, Convolution):
            regressing += Regression.workload(layer, channels, pixels=pixels, solves=solves)
    memory_bytes = observing.memory_bytes + regressing.memory_bytes
    tracing = Workload(forward_images=2 * EXAMPLES + 2)  # a proof, and the shapes of two networks
    return replace(tracing + observing + regressing, memory_bytes=memory_bytes)


def _refit(
    networks: SideBySide,
    chain: Chain,
    choice: Candidate,
    new: New,
    problem: Problem,
    ridges: tuple[float, ...],
    held_to: Weights | None,
) -> None:
    """Solve one replacement's problem on what it sees, and set it in place."""
    first = choice.start if problem.start is None else problem.start
    adds = len(chain.open_skips(first, choice.end))
    wanted = chain.ending(first, choice.end).preactivation
    through = inner = None
    if first != choice.start:
        through = chain.blocks[choice.start].input, chain.blocks[first].input
    if problem.inner is not None and held_to is not None:
        device = next(networks.student.parameters()).device
        read, inner = inner_of(chain, choice.start, choice.end, held_to[1:], device)
        through = chain.blocks[choice.start].input, read
    if problem.hidden:
        block = chain.blocks[first]
        adds = sum(skip.ending is None for skip in chain.skips_to(first + 1))
        through = block.input, str(block.hidden)
    place = Place(
        new.name, new.last, problem.convolution, adds, wanted, through, inner, problem.hidden
    )
    observed, kind = networks.observe(place), kind_of(choice)
    if problem.channels is not None:
        ((weight, _), *_) = held_to or ()
        fitted = observed.narrowed(weight, problem.channels, problem.together)
    elif problem.factors is not None:
        fitted = observed.factored(problem.factors, ridges, to_identity=problem.to_identity)
    else:
        fitted = observed.best(ridges, to_identity=problem.to_identity)
    if problem.keeps_start:
        start = folded(*convolution_and_norm(networks.student, new))
        if observed.error(*start) <= fitted.error:
            return
    weights = kind.realised(choice, fitted)
    kind.set_weights(networks.student, new, choice, weights, observed.regression)
