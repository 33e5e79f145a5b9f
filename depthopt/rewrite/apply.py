"""A plan carried out: new convolutions fitted and kept ones compensated, left to right."""

from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile

from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.heap import kept_heap
from depthopt.core.plan import Plan
from depthopt.errors import UsageError
from depthopt.graph.network import TracedNetwork
from depthopt.graph.replay import Replay
from depthopt.graph.trace import nodes_by_name, trace
from depthopt.rewrite.affine import folded
from depthopt.rewrite.build import Form, build, is_regressed, norm_of
from depthopt.rewrite.calibration import repeatable
from depthopt.rewrite.compensate import compensate
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.inserted import Start, start_as_identity
from depthopt.rewrite.normed import fresh_lengths, set_weights
from depthopt.rewrite.pairs import accumulate
from depthopt.rewrite.regression import RIDGES, best_fits, error_of


@kept_heap()
def apply(
    model: nn.Module,
    chain: Chain,
    plan: Plan,
    *,
    calibration: Iterable[Tensor] | None = None,
    form: Form = "merged",
    ridges: Iterable[float] = RIDGES,
    compensated: bool = True,
    start: Start = "annealed",
    progress: Callable[[int, int], None] | None = None,
) -> TracedNetwork:
    """Carry out a plan: a trainable network with every replacement in place.

    New convolutions are regressed left to right, each on the *compressed* network's own
    input against the original's pre-activation tensor at the segment's end, so that
    errors do not pile up. Those that a ``merge`` composes stay composed where regression
    gains nothing on held-out images.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        plan: a plan over that chain.
        calibration: batches of images (N, C, H, W), gone through once per regressed
            convolution, or from memory where that suffices (``depthopt.graph.replay``); needed if
            the plan holds a ``fit``. See ``calibration.repeatable``.
        form: whether a ``merge`` becomes one convolution or stays ``expanded``.
        ridges: relative regularisations to choose from on held-out batches.
        compensated: whether kept convolutions behind the first replacement are regressed
            too (``depthopt.rewrite.compensate``), if there are calibration images.
        start: whether activations that the plan inserts begin as the identity and come
            into their own while the network is finetuned, or are there ``at_once``.
        progress: called with the number of convolutions regressed, and of all.

    Raises:
        ModelError: chain or plan were made for another model.
        UsageError: the plan holds a ``fit`` and there is no calibration data.
        DataError: too few calibration images for a kernel.
    """
    graph_module, names = build(model, chain, plan, form)
    if start == "annealed":
        start_as_identity(graph_module)
    fits = [choice for choice in plan.replaced if choice.kind == "fit"]
    if fits and calibration is None:
        raise UsageError(f"the plan fits {len(fits)} segments on data; give calibration images")
    teacher = trace(model, chain.input_size)
    fold_norms(teacher, keep_nodes=True)
    batches = repeatable(calibration or ())
    todo = [c for c in _behind_first(plan) if _is_regressed(c, form, compensated=compensated)]
    if not batches:
        todo = []
    replay = Replay((graph_module, teacher), batches)
    for done, choice in enumerate(todo):
        if progress is not None:
            progress(done, len(todo))
        if choice.kind != "keep":
            _refit(graph_module, teacher, chain, choice, names[choice], replay, tuple(ridges))
        else:
            compensate(graph_module, teacher, chain, choice.start, replay)
    if progress is not None:
        progress(len(todo), len(todo))
    return graph_module


def _behind_first(plan: Plan) -> Iterator[Candidate]:
    """The choices from the first replacement on."""
    return dropwhile(lambda choice: choice.kind == "keep", plan.choices)


def _is_regressed(choice: Candidate, form: Form, *, compensated: bool) -> bool:
    if choice.kind == "keep":
        return compensated
    return is_regressed(choice, form)


def _refit(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    chain: Chain,
    choice: Candidate,
    name: str,
    replay: Replay,
    ridges: tuple[float, ...],
) -> None:
    """Regress one new convolution in place."""
    assert choice.spec is not None  # noqa: S101 - what is regressed always has one
    nodes = {node.target: node for node in student.graph.nodes if node.op == "call_module"}
    regression, inputs, wanted = accumulate(
        replay,
        choice.spec,
        name,
        conv=nodes[name],
        linear=nodes.get(norm_of(name), nodes[name]),
        adds=len(chain.open_skips(choice.start, choice.end)),
        wanted=nodes_by_name(teacher)[chain.ending(choice.start, choice.end).preactivation],
    )
    fitted = best_fits(regression, choice.spec, inputs, {name: wanted}, ridges)[name]
    conv = student.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 - see ``build``
    norm = student.get_submodule(norm_of(name)) if norm_of(name) in nodes else None
    assert norm is None or isinstance(norm, nn.BatchNorm2d)  # noqa: S101 - see ``build``
    weight, bias = (tensor.to(inputs) for tensor in folded(conv, norm))
    if choice.kind == "merge" and (
        error_of(inputs, weight, bias, choice.spec, wanted) <= fitted.error
    ):
        return  # what is composed is as good
    set_weights(conv, norm, fitted.weight, fitted.bias, regression, fresh_lengths(conv))
