"""What a segment may become, and which latency entries that costs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from depthopt.core.chain import Chain, Skip
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

    @classmethod
    def parse(cls, key: str) -> "Candidate":
        """The candidate whose ``key`` this is.

        Raises:
            ValueError: it is none's.
        """
        found = _KEY.fullmatch(key)
        if found is None:
            raise ValueError(f"{key!r} is no candidate, such as 'drop 3:5 identity relu'")
        part = found.groupdict()
        what, kept = part["what"], part["kept"]
        return cls(
            int(part["start"]),
            int(part["end"]),
            cast("Kind", part["kind"]),
            None if what == "identity" else ConvSpec.parse(what),
            part["activation"],
            tuple(map(int, kept.split(","))) if kept else (),
        )


_KEY = re.compile(
    r"(?P<kind>keep|merge|drop|fit) (?P<start>\d+):(?P<end>\d+) "
    r"(?P<what>identity|\d+-\d+ k\d+x\d+( [spdg]-?\d[-\dx,]*)*)"
    r"( (?!of )(?P<activation>[a-z]\S*))?( of (?P<kept>[\d,]*))?"
)


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
        pool: whether ``spec`` describes an average pooling instead of a convolution.
    """

    spec: ConvSpec | None
    input_size: Pair
    activation: str | None = None
    residual: bool = False
    channels: int = 0
    pool: bool = False

    def __str__(self) -> str:
        """The canonical name under which tables hold the entry."""
        what = f"identity {self.channels}" if self.spec is None else f"conv {self.spec}"
        if self.pool:
            what = f"avgpool {self.spec}"
        parts = [what, "@{}x{}".format(*self.input_size)]
        if self.residual:
            parts.append("+add")
        if self.activation is not None:
            parts.append(self.activation)
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "LatencyKey":
        """The key whose ``str`` is ``text``.

        Raises:
            ValueError: it is none's.
        """
        found = _ENTRY.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no entry, such as 'conv 8-8 k1x1 @7x7 +add relu'")
        part = found.groupdict()
        height, width = part["size"].split("x")
        return cls(
            None if part["kind"] == "identity" else ConvSpec.parse(part["what"]),
            (int(height), int(width)),
            part["activation"],
            part["residual"] is not None,
            int(part["what"]) if part["kind"] == "identity" else 0,
            part["kind"] == "avgpool",
        )


_ENTRY = re.compile(
    r"(?P<kind>conv|identity|avgpool) (?P<what>[^@]+) @(?P<size>\d+x\d+)"
    r"(?P<residual> \+add)?( (?P<activation>[a-z]\S*))?"
)


def latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Everything that runs because of ``candidate``: itself, and what it leaves in place.

    The residual adds at the candidate's end, and the projections on those skips, are
    counted with the candidate: every plan has exactly one segment that ends there, or one
    that covers the skip and removes both.
    """
    start, end = candidate.start, candidate.end
    if candidate.kind == "keep":
        # A one-block skip is covered by its own block, whose add nevertheless stays.
        adds = chain.skips_to(end)
        fused = tuple(skip for skip in adds if skip.ending is None)
        later = tuple(skip for skip in adds if skip.ending is not None)
        last = chain.blocks[start]
        channels, output_size = last.spec.out_channels, last.output_size
    else:
        fused, later = chain.open_skips(start, end), chain.later_skips(start, end)
        ending = chain.ending(start, end)
        channels, output_size = ending.channels, ending.size
    keys = list(_own_keys(chain, candidate, channels, output_size, residual=bool(fused)))
    keys += [LatencyKey(None, output_size, None, True, channels)] * (len(fused) - 1)
    for skip in later:
        assert skip.ending is not None  # noqa: S101 - else it would not be a later one
        sum_ = skip.ending
        keys.append(LatencyKey(None, sum_.size, sum_.activation, True, sum_.channels))
    for skip in (*fused, *later):
        keys += _branch_keys(chain, skip)
    return tuple(keys)


def parameters(chain: Chain, candidate: Candidate) -> int:
    """Weights and biases that run because of ``candidate``, projections on skips included."""
    keys = latency_keys(chain, candidate)
    return sum(key.spec.parameters for key in keys if key.spec is not None and not key.pool)


def _own_keys(
    chain: Chain, candidate: Candidate, channels: int, output_size: Pair, *, residual: bool
) -> Iterator[LatencyKey]:
    """What the candidate itself runs."""
    activation = candidate.activation
    if candidate.spec is None:
        if activation is not None or residual:
            yield LatencyKey(None, output_size, activation, residual, channels)
        return
    input_size = chain.blocks[candidate.start].input_size
    if candidate.kind == "drop":
        (skip,) = (s for s in chain.skips_to(candidate.end) if s.source == candidate.start)
        *pools, own = _branch_keys(chain, skip)
        yield from pools
        input_size = own.input_size
    yield LatencyKey(candidate.spec, input_size, activation, residual)


def _branch_keys(chain: Chain, skip: Skip) -> Iterator[LatencyKey]:
    """What runs on a skip: its pooling, its projection."""
    size = chain.blocks[skip.source].input_size
    if skip.pool is not None:
        yield LatencyKey(skip.pool, size, pool=True)
        size = skip.pool.output_size(size)
    if skip.projection is not None:
        yield LatencyKey(skip.projection, size)
