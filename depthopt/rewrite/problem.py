"""The regression problem of a replacement, as a kind declares it."""

from dataclasses import dataclass

from depthopt.core.operators import Convolution


@dataclass(frozen=True, slots=True)
class Problem:
    """One convolution to regress, from a tensor of a segment to the one at its end.

    Inputs and targets are those of ``SegmentTensors``: in the original network for the estimator,
    in the shallow one when a plan is applied.

    Attributes:
        convolution: what is solved for.
        keeps_start: whether the weights that it starts from are kept where they are no worse on
            held-out images; they are also what there is without images.
        start: block whose input it reads, where that is not the segment's first: those before it
            compute what they do in the original. None for the segment's start.
        channels: how many of its input's channels stay, where not all do: those are chosen that
            serve the target best, and the weight is held to the one that it starts from
            (``depthopt.rewrite.narrowing``). None for all.
        together: consecutive channels that stay or go together.
        inner: the convolution that is regressed too, for the channels that stay, if there is one:
            of a gate on them, or the one that gives them (``depthopt.rewrite.inner``).
        factors: the two convolutions in a row that are regressed in its place
            (``depthopt.rewrite.factored``), where that is wished.
        to_identity: whether the weight is drawn to the identity, not to 0.
        hidden: whether it reads what the last linear layer of the segment's one branch does, not
            the tensor at its start.
    """

    convolution: Convolution
    keeps_start: bool = False
    start: int | None = None
    channels: int | None = None
    together: int = 1
    inner: Convolution | None = None
    factors: tuple[Convolution, Convolution] | None = None
    to_identity: bool = False
    hidden: bool = False

    @property
    def memory_bytes(self) -> int:
        """Memory of the regressions' sums."""
        each = (self.convolution, self.inner)
        return sum(sums_bytes(one, one.out_channels) for one in each if one is not None)


def features_of(convolution: Convolution) -> int:
    """Weights per output."""
    kh, kw = convolution.kernel_size
    return convolution.in_channels // convolution.groups * kh * kw


def sums_bytes(convolution: Convolution, out_channels: int) -> int:
    """Memory of a regression's sums over inputs and targets, in bytes.

    Args:
        convolution: the largest that is solved for.
        out_channels: of all targets together.
    """
    features = features_of(convolution)
    return 8 * features * (convolution.groups * features + out_channels)
