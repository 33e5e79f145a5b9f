"""Choose which input channels of a convolution stay, and regress its weight for them.

With X the windows of all channels and Y what the convolution should give, a set S of channels is as
good as ``min_W |X_S W - Y|^2`` is small. The best set is hard to find. Going back from all
channels, that one goes at each step without which the rest does best: with ``P = (X'X + r I)^-1``
and ``W = P (X'Y + r W0)``, W0 the weight that there was, leaving channel c out costs
``tr(W_c' (P_cc)^-1 W_c)``, and what is left is
``P - P_.c (P_cc)^-1 P_c.`` and likewise for W (the optimal brain surgeon of Hassibi and Stork,
https://proceedings.neurips.cc/paper/1992/hash/303ed4c69846ab36c2904d3ba8573050-Abstract.html, with
a block of weights for one). So a channel goes at no cost if it is constant, or nothing reads it, or
others give what it gives: dead ones and copies first. The ridge r is the larger the fewer pixels
there are for each weight: what others could make up for only on so few is not counted on.

One way back serves every width: what has gone for a large one has gone for a smaller.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from depthopt.core.operators import Convolution
from depthopt.core.workload import Workload
from depthopt.rewrite.problem import features_of
from depthopt.rewrite.regression import Fitted, Regression, best_fits
from depthopt.rewrite.ridges import COMPENSATION_RIDGES

_LEAST_RIDGE, _MOST_RIDGE = 1e-6, 0.1
"""Least and most regularisation while channels are eliminated, relative to the mean variance of
the input. Between them it is the weights per output over the pixels that they are regressed on."""

RIDGES = (_LEAST_RIDGE, *COMPENSATION_RIDGES)
"""Strengths for the weights of the channels that stay, relative to the mean variance of the input.
By the first, other channels give in full what a copy gave."""

_CONSTANT = 1e-9
"""A variance below which a channel is constant, relative to the mean."""

_SHARE = 16
"""One in this many of the channels left is eliminated before P is computed again for all. For the
next few to go it is exact in between."""


def narrowed(
    regression: Regression,
    spec: Convolution,
    inputs: Tensor,
    wanted: Tensor,
    weight: Tensor,
    counts: Collection[int],
    *,
    target: str,
    together: int = 1,
    inner: Callable[[Tensor], tuple[tuple[Tensor, Tensor], ...]] | None = None,
) -> dict[int, Fitted]:
    """The convolution for fewer input channels, the best ones, for several numbers of them.

    Args:
        regression: has seen all channels.
        spec: the dense convolution, of all channels.
        inputs: (N, in_channels, H, W), not among what was accumulated.
        wanted: (N, out_channels, H', W') that it should give for them.
        weight: (out_channels, in_channels, kH, kW) that it has, and is held to.
        counts: how many channels stay, each a multiple of ``together``.
        target: name of the regression's target.
        together: consecutive channels that stay or go together.
        inner: the weights of what else is regressed, for the channels that stay
            (``depthopt.rewrite.inner``).

    Returns:
        By count the solution whose ridge serves held-out data best. Its weight has all channels,
        and zeros for those that go.
    """
    found = {}
    for count, channels in staying(regression, spec, weight, counts, target, together).items():
        some = regression.of_channels(spec, channels, target)
        prior = {target: weight[:, channels]}
        held_out = inputs[:, channels]
        best = best_fits(some, some.spec, held_out, {target: wanted}, RIDGES, prior)[target]
        whole = best.weight.new_zeros(len(best.weight), *weight.shape[1:])
        whole[:, channels] = best.weight
        found[count] = replace(best, weight=whole, inner=inner(channels) if inner else ())
    return found


def channels_of(weight: Tensor, count: int, together: int = 1) -> Tensor:
    """The input channels that stay, rising. The weight is zero for those that go.

    Args:
        weight: (out_channels, in_channels, kH, kW), as ``narrowed`` gives it.
        count: how many stay. Of those that are 0 the first ones stay too, if others are too few.
        together: consecutive channels that stay or go together.
    """
    sizes = weight.abs().sum((0, 2, 3)).reshape(-1, together).sum(1)
    units = (sizes == 0).to(torch.int8).argsort(stable=True)[: count // together].sort().values
    return _channels(units, together)


def staying(
    regression: Regression,
    spec: Convolution,
    weight: Tensor,
    counts: Collection[int],
    target: str,
    together: int = 1,
) -> dict[int, Tensor]:
    """The indices of the channels that stay, rising, for several numbers of them.

    Args:
        regression: has seen all channels.
        spec: the dense convolution, of all channels.
        weight: (out_channels, in_channels, kH, kW) that it has.
        counts: how many channels stay, each a multiple of ``together``.
        target: name of the regression's target.
        together: consecutive channels that stay or go together.
    """
    everything = torch.arange(spec.in_channels, device=regression.device)
    whole = regression.of_channels(spec, everything, target)
    ridge = min(max(whole.features / whole.count, _LEAST_RIDGE), _MOST_RIDGE)
    (gram,), (moments,), (strength,) = whole.normal_equations(spec, ridge)
    variance = gram.diagonal() - strength
    varies = variance > _CONSTANT * variance.mean()
    moments += strength * varies[:, None] * weight.to(moments).flatten(1).T
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram, out=gram))
    rest = _Rest(inverse, inverse @ moments, features_of(spec) // spec.in_channels * together)
    found = {}
    for count in sorted(counts, reverse=True):
        while (surplus := rest.left - count // together) > 0:
            rest.leave_out(min(surplus, max(1, rest.left // _SHARE)))
        found[count] = _channels(rest.units.sort().values, together)
    return found


def narrowing_workload(spec: Convolution, counts: Collection[int]) -> Workload:
    """The work of ``narrowed``: an inverse, the elimination, and a solution for each ridge."""
    features, macs = features_of(spec), 0
    for count in counts:
        left = features * count // spec.in_channels
        macs += len(RIDGES) * (left**3 // 6 + left**2 * spec.out_channels)
    return Workload(macs64=macs + 2 * features**3 + features**2 * spec.out_channels)


class _Rest:
    """What is left on the way back.

    Attributes:
        inverse: P of the units left, (features, features).
        weight: W of them, (features, out_channels).
        units: their indices.
    """

    def __init__(self, inverse: Tensor, weight: Tensor, features: int) -> None:
        self.inverse, self.weight, self._features = inverse, weight, features
        self.units = torch.arange(len(inverse) // features, device=inverse.device)

    @property
    def left(self) -> int:
        """How many units there are."""
        return len(self.units)

    def leave_out(self, count: int) -> None:
        """Let so many units go: of the few that cost least by themselves, one after another.

        What one costs depends on those that went before it. Among the few that is followed
        exactly; the others wait for the next call.
        """
        few = _costs(self.inverse, self.weight, self._features).argsort()[: 2 * count + 1]
        rows = self._rows(few)
        local = _Rest(
            self.inverse[rows[:, None], rows].clone(), self.weight[rows].clone(), self._features
        )
        for _ in range(count):
            local.eliminate(_costs(local.inverse, local.weight, self._features).argmin()[None])
        gone = torch.ones(len(few), dtype=torch.bool, device=few.device)
        gone[local.units] = False
        self.eliminate(few[gone])

    def eliminate(self, gone: Tensor) -> None:
        """Let units go, by their place among those left."""
        stays = torch.ones(self.left, dtype=torch.bool, device=gone.device)
        stays[gone] = False
        out, kept = self._rows(gone), self._rows(stays.nonzero()[:, 0])
        factor = torch.linalg.cholesky(self.inverse[out[:, None], out])
        across = self.inverse[kept[:, None], out]
        through = torch.cholesky_solve(across.T, factor)
        self.weight = self.weight[kept] - through.T @ self.weight[out]
        self.inverse = self.inverse[kept[:, None], kept].addmm_(across, through, alpha=-1)
        self.units = self.units[stays]

    def _rows(self, units: Tensor) -> Tensor:
        return _channels(units, self._features)


def _costs(inverse: Tensor, weight: Tensor, features: int) -> Tensor:
    """What the squared error rises by without each unit, (units,)."""
    own = weight.reshape(-1, features, weight.shape[1])
    blocks = inverse.reshape(-1, features, len(inverse) // features, features)
    at = torch.arange(len(own), device=weight.device)
    factor = torch.linalg.cholesky(blocks[at, :, at])
    costs: Tensor = torch.linalg.solve_triangular(factor, own, upper=False).square().sum((1, 2))
    return costs


def _channels(units: Tensor, together: int) -> Tensor:
    """The channels of units, in their order."""
    offsets = torch.arange(together, device=units.device)
    return (units[:, None] * together + offsets).reshape(-1)
