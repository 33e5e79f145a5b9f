"""The definition of a kind of candidate: one value with the functions that the stages call."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.kinds.running import replacing_keys
from depthopt.kinds.site import New, Site, Weights, module_name
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem
from depthopt.tables.latency import LatencyKey
from depthopt.tables.similarity import Similarities

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx

    from depthopt.rewrite.regression import Fitted, Regression
    from depthopt.rewrite.stand_in import StandIn

Fit = Literal["dense", "depthwise", "separable", "low_rank"]
"""What a ``fit`` is: one convolution, or two in a row: a depthwise and a 1x1 one, or a 1x1 one to
few channels and one of the kernel's size."""

Pattern = Literal["", "stripes", "dots", "crosses", "bars", "rings"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for in candidates.

    Attributes:
        segments: the legal ones, of at most the longest length.
        kernel_sizes: side lengths of square kernels to try, rising.
        weights: L1 norms by block, if merges of some of a segment's convolutions are wished.
        identities: whether a segment may become nothing at all, where it may.
        ends: activation that is inserted where the original has none, if candidates with and
            without activations at their ends are wished (``depthopt.kinds.ends``).
        fits: what ``fit`` puts in a segment's place.
        ranks: shares of the channels that a 1x1 convolution to fewer may have, falling.
        widths: shares of a branch's hidden channels to try, falling.
        width_step: of which each number of hidden channels is a multiple.
        published: whether only what the papers' code lists is wished.
        coefficients: that the block in front may have where two are averaged, rising; none where
            that is to be how similar the two are.
        similarities: of a transformer's blocks, if they are known.
        least_similarity: of two blocks of a run that is averaged.
    """

    segments: tuple[tuple[int, int], ...]
    kernel_sizes: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    identities: bool = True
    ends: Activation | None = None
    fits: tuple[Fit, ...] = ("dense", "depthwise")
    ranks: tuple[float, ...] = ()
    widths: tuple[float, ...] = ()
    width_step: int = 1
    published: bool = False
    coefficients: tuple[float, ...] = ()
    similarities: Similarities | None = None
    least_similarity: float = 0.0


def _why_illegal(chain: Chain, candidate: Candidate) -> str | None:
    return chain.why_illegal(candidate.start, candidate.end)


def _one_convolution(candidate: Candidate, _: Form) -> Problem:
    return Problem(candidate.convolution)


def _as_fitted(_: Candidate, fitted: "Fitted") -> Weights:
    last = fitted.weight, fitted.bias
    if fitted.first is None:
        return (last,)
    return ((fitted.first, fitted.first.new_zeros(len(fitted.first))), last)


def _input(chain: Chain, candidate: Candidate) -> set[str]:
    return {chain.blocks[candidate.start].input}


def _convolved(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    from depthopt.kinds.network import convolved  # noqa: PLC0415 - torch takes seconds

    return convolved(candidate, weights, values[chain.blocks[candidate.start].input])


def _installed(site: Site, candidate: Candidate) -> "tuple[fx.Node, New | None]":
    from depthopt.kinds.network import install_convolution  # noqa: PLC0415 - as above

    return install_convolution(site, candidate)


def _set(
    network: "fx.GraphModule", new: New, _: Candidate, weights: Weights, regression: "Regression"
) -> None:
    from depthopt.kinds.network import set_convolution  # noqa: PLC0415 - as above

    set_convolution(network, new, weights, regression)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to replace segments.

    Only ``name``, ``verb``, ``letter``, ``colour`` and ``candidates`` must be given; what else
    there is suits a kind whose operators are convolutions with a bias, regressed from nothing.

    Attributes:
        name: in recipes and files: letters, digits, ``_`` and ``-``, beginning with a letter.
        verb: what has happened to the blocks, such as ``fitted``.
        letter: on the report's strip of blocks.
        colour: of such blocks, in CSS, on light ground and on dark.
        pattern: over the colour, for those who tell colours badly.
        is_filtered: whether candidates that need as many multiply-accumulates as what they
            replace are left out, if the user wishes so.
        takes_inserted: whether the activation that a user inserts goes behind it, where it
            replaces several blocks and none follows.
        is_tried_alone: whether a plan of this kind alone is tried too, where plans are
            (``pipeline.trials``), as what stays in it is as it was trained.
        takes_ends: whether it lists its candidates with and without an activation at either end
            itself, if the user wishes so.
        takes_similarities: whether it wants to know how similar a network's blocks are, where that
            can be told.
        candidates: (chain, wishes): what segments may become.
        why_not: (chain, candidate): why the segment may not be replaced so; None if it may.
        latency_keys: (chain, candidate): what runs because of it (``depthopt.kinds.running``).
        width: (chain, candidate): share of the segment's hidden channels that stay; its box in a
            report is as tall.
        retained: (candidate): the blocks whose weights live on in it; none by default.
        is_part: (candidate): whether it only stands for a part of a composition, and is measured,
            but not scored; then its segment's entry is the whole's.
        is_composition: (candidate): whether it computes what its blocks do one after another,
            less activations between them; then several such may stand in the place of one.
        reader: (chain, candidate): path of the module that reads the tensor at its start; None
            if it has none of its own.
        problem: (candidate, form): what is regressed in its place; None if nothing is.
        adjusted: (candidate): the block that stays in the network, as it is or with other weights,
            and whose last layer is regressed where plans compensate, for the tensor at the
            segment's end; None if there is none.
        stand_in: (network, chain, candidate): the part of a network that stands in its place, for
            a kind that is more than operators in a row; such a kind gives no ``output``. Of those
            of a segment that run the same, the nearest on held-out data is scored.
        start: (network, chain, candidate): the weights that it starts from, read from the traced
            original with its norms; None if there are none.
        realised: (candidate, fitted): the weights of its operators, from what was regressed.
        reads: (chain, candidate): fx nodes whose values ``output`` needs.
        output: (chain, candidate, weights, values): the tensor that it gives in the segment's
            place, before any add (N, C, H, W), from the values by node.
        install: (site, candidate): puts it into a network; the node of what it gives, or None
            where the segment's own nodes do, and what was put in, if anything with weights was.
        set_weights: (network, new, candidate, weights, regression): sets what was put in; the
            regression has seen its inputs.
    """

    name: str
    verb: str
    letter: str
    colour: tuple[str, str]
    candidates: Callable[[Chain, Wishes], Iterable[Candidate]]
    pattern: Pattern = ""
    is_filtered: bool = True
    takes_inserted: bool = True
    is_tried_alone: bool = False
    takes_ends: bool = False
    takes_similarities: bool = False
    why_not: Callable[[Chain, Candidate], str | None] = _why_illegal
    latency_keys: Callable[[Chain, Candidate], tuple[LatencyKey, ...]] = replacing_keys
    width: Callable[[Chain, Candidate], float] = lambda *_: 1.0
    retained: Callable[[Candidate], Collection[int]] = lambda _: ()
    is_part: Callable[[Candidate], bool] = lambda _: False
    is_composition: Callable[[Candidate], bool] = lambda _: False
    reader: Callable[[Chain, Candidate], str | None] = lambda _, candidate: module_name(candidate)
    problem: Callable[[Candidate, Form], Problem | None] = _one_convolution
    adjusted: Callable[[Candidate], int | None] = lambda _: None
    stand_in: "Callable[[fx.GraphModule, Chain, Candidate], StandIn] | None" = None
    start: "Callable[[fx.GraphModule, Chain, Candidate], Weights | None]" = lambda *_: None
    realised: "Callable[[Candidate, Fitted], Weights]" = _as_fitted
    reads: Callable[[Chain, Candidate], Collection[str]] = _input
    output: "Callable[[Chain, Candidate, Weights, Mapping[str, Tensor]], Tensor]" = _convolved
    install: "Callable[[Site, Candidate], tuple[fx.Node | None, New | None]]" = _installed
    set_weights: "Callable[[fx.GraphModule, New, Candidate, Weights, Regression], None]" = _set
