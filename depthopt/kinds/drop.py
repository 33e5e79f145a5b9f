"""``drop``: remove the whole branch beside a skip. What the skip adds remains."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.running import branch_keys, keys_at_end, replacing_keys
from depthopt.kinds.site import New, Site, Weights
from depthopt.tables.latency import LatencyKey

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx


def _candidates(chain: Chain, _: Wishes) -> Iterator[Candidate]:
    """One per skip whose branch can go while nothing else ends there."""
    for skip in chain.skips:
        start, end = skip.source, skip.target
        if chain.why_illegal(start, end) is not None:
            continue
        if [other for other in chain.skips_to(end) if other.source >= start] != [skip]:
            continue
        activation = chain.ending(start, end).activation
        if _is_repeated(chain, skip, activation):
            activation = None
        operators = (layer.operator for layer in skip.branch)
        remaining = tuple(o for o in operators if isinstance(o, Convolution))
        yield Candidate(start, end, KIND.name, remaining, activation)


def _is_repeated(chain: Chain, skip: Skip, activation: Activation | None) -> bool:
    """Whether the identity skip's tensor has been through the same activation already."""
    if activation is None or not activation.is_idempotent or skip.branch or skip.source == 0:
        return False
    if chain.open_skips(skip.source, skip.target):
        return False
    before = chain.ending(0, skip.source)
    return before.activation == activation and before.output == chain.blocks[skip.source].input


def _skip(chain: Chain, candidate: Candidate) -> Skip:
    """The skip that remains."""
    return next(s for s in chain.skips_to(candidate.end) if s.source == candidate.start)


def _latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    if not candidate.operators:
        return replacing_keys(chain, candidate)
    branch = list(branch_keys(chain, _skip(chain, candidate)))
    return keys_at_end(chain, candidate, branch[-1].input_size, branch[:-1])


def _output(
    chain: Chain, candidate: Candidate, _: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    return values[_skip(chain, candidate).operand]


def _install(site: Site, candidate: Candidate) -> "tuple[fx.Node, New | None]":
    return site.operand(_skip(site.chain, candidate)), None


KIND = Kind(
    name="drop",
    verb="dropped",
    letter="D",
    colour=("#b4470f", "#f0945f"),
    pattern="crosses",
    candidates=_candidates,
    is_filtered=False,
    takes_inserted=False,
    is_tried_alone=True,
    latency_keys=_latency_keys,
    reader=lambda *_: None,
    problem=lambda *_: None,
    reads=lambda chain, candidate: {_skip(chain, candidate).operand},
    output=_output,
    install=_install,
)
