"""What a segment may become, and which latency entries that costs."""

from dataclasses import dataclass
from typing import Literal

from depthopt.core.chain import Chain
from depthopt.core.spec import ConvSpec, Pair

Kind = Literal["keep", "merge", "drop", "fit"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to realise the segment ``[start, end)``.

    Attributes:
        start: first block of the segment.
        end: one past its last block.
        kind: ``keep`` the block; ``merge`` the kept convolutions by composing their
            weights; ``drop`` a skip's branch; ``fit`` one convolution on data.
        spec: the one convolution that runs in place of the segment, or None where
            only a skip remains.
        activation: canonical name of the activation after it, or None.
        kept: for ``merge``, the blocks whose convolutions are composed.
    """

    start: int
    end: int
    kind: Kind
    spec: ConvSpec | None
    activation: str | None = None
    kept: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Canonical name; the importance table is keyed by it."""
        what = "identity" if self.spec is None else str(self.spec)
        parts = [self.kind, f"{self.start}:{self.end}", what]
        if self.activation is not None:
            parts.append(self.activation)
        if self.kind == "merge":
            parts.append("of " + ",".join(map(str, self.kept)))
        return " ".join(parts)


def kept_blocks(chain: Chain) -> tuple[Candidate, ...]:
    """Every block of the chain as it is."""
    return tuple(
        Candidate(i, i + 1, "keep", block.spec, block.activation)
        for i, block in enumerate(chain.blocks)
    )


@dataclass(frozen=True, slots=True)
class LatencyKey:
    """What runs, apart from where: the key of a latency entry.

    Attributes:
        spec: the convolution, or None for a bare activation.
        input_size: (height, width) of its input.
        activation: canonical name of the activation after it, or None.
        residual: whether a residual is added between the two.
        channels: channels of the tensor where there is no convolution; else 0.
    """

    spec: ConvSpec | None
    input_size: Pair
    activation: str | None = None
    residual: bool = False
    channels: int = 0

    def __str__(self) -> str:
        """The canonical name under which tables hold the entry."""
        what = f"identity {self.channels}" if self.spec is None else f"conv {self.spec}"
        parts = [what, "@{}x{}".format(*self.input_size)]
        if self.residual:
            parts.append("+add")
        if self.activation is not None:
            parts.append(self.activation)
        return " ".join(parts)


def latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Everything that runs because of ``candidate``: itself, and what it leaves in place.

    A residual add that ends at the candidate's end, and the projection on that skip,
    are counted with the candidate: every plan has exactly one segment that ends
    there, or one that covers the skip and removes both.
    """
    first, last = chain.blocks[candidate.start], chain.blocks[candidate.end - 1]
    open_skips = chain.open_skips(candidate.start, candidate.end)
    if candidate.kind == "keep":
        # A one-block skip is covered by its own block, whose add nevertheless stays.
        open_skips += chain.covered(candidate.start, candidate.end)
    size = last.output_size if candidate.spec is None else first.input_size
    residual = bool(open_skips)
    keys = []
    if candidate.spec is not None or candidate.activation is not None or residual:
        channels = last.spec.out_channels if candidate.spec is None else 0
        keys.append(LatencyKey(candidate.spec, size, candidate.activation, residual, channels))
    keys += [
        LatencyKey(skip.projection, chain.blocks[skip.source].input_size)
        for skip in open_skips
        if skip.projection is not None
    ]
    return tuple(keys)
