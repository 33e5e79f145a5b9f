"""``keep``: leave a block as it is."""

from collections.abc import Iterator

from depthopt.core.candidate import KEPT, Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.kinds.ends import kept_behind_inserted
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.running import kept_keys


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    yield from kept_blocks(chain)
    if wishes.ends is not None:
        yield from kept_behind_inserted(chain)


def _why_not(chain: Chain, candidate: Candidate) -> str | None:
    if candidate.operators != (chain.blocks[candidate.start].operator,):
        return "another block"
    return "ends in another state than the original" if candidate.exit else None


KIND = Kind(
    name=KEPT,
    verb="kept",
    letter="",
    colour=("#d5dae1", "#46505c"),
    candidates=_candidates,
    is_filtered=False,
    takes_inserted=False,
    why_not=_why_not,
    latency_keys=kept_keys,
    is_composition=lambda _: True,
    reader=lambda chain, candidate: chain.blocks[candidate.start].name,
    problem=lambda *_: None,
    adjusted=lambda candidate: candidate.start,
)
