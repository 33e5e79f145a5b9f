"""Two convolutions in a row regressed in the place of one, from the same sums.

The dense convolution that the two compute together is bound to their form; of all of that form the
one with the least squared error on images is sought, with the same ridge on the weights that they
compute together:

- *separable*, a depthwise convolution and a 1x1 one: each of the two is a least squares problem
  while the other stays, so they are solved in turn (alternating least squares), from the first
  singular vector of each channel of the dense solution;
- *of low rank*, a 1x1 convolution to few channels and one of the kernel's size: the first by
  reduced-rank regression (Izenman 1975, https://doi.org/10.1016/0047-259X(75)90042-1), which is
  exact for a 1x1 kernel, the second by least squares on what the first gives.

In the place of tokens the two are added to the identity, and together they compute the rest.

Nothing but the Gram matrix, the moments and the means of the dense problem is needed: no image is
seen again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from depthopt.core.operators import Convolution
from depthopt.core.workload import Workload
from depthopt.rewrite.problem import features_of
from depthopt.rewrite.regression import Fitted, Regression, convolve

_ROUNDS = 8
"""Times that either of two convolutions is solved for; more gain less than a hundredth."""

_JITTER = 1e-10
"""On a diagonal, relative to its mean: a channel that the second convolution does not read."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """A dense problem's sums.

    Attributes:
        gram: centred, with the ridge, (channels, taps, channels, taps).
        moments: centred, (channels, taps, out_channels).
    """

    gram: Tensor
    moments: Tensor


def factored(
    regression: Regression,
    spec: Convolution,
    factors: tuple[Convolution, Convolution],
    dense: Fitted,
    inputs: Tensor,
    wanted: Tensor,
    *,
    target: str,
    to_identity: bool = False,
) -> Fitted:
    """The two convolutions that together come nearest to what is wanted.

    Args:
        regression: of the dense problem.
        spec: the dense convolution.
        factors: the two; the first has no bias, and one of them is 1x1.
        dense: the solution of the dense problem, whose ridge is taken over.
        inputs: (N, in_channels, H, W), not among what was accumulated.
        wanted: (N, out_channels, H', W') that they should give for them.
        target: name of the regression's target.
        to_identity: whether they are added to what they read, as the dense problem was drawn to
            the identity.

    Returns:
        The second one's weight and bias, and the weight of the ``first``.
    """
    first, second = factors
    everything = torch.arange(spec.in_channels, device=regression.device)
    own = regression.of_channels(spec, everything, target)
    (gram,), (moments,), (strength,) = own.normal_equations(own.spec, dense.ridge)
    whole = dense.weight.double()
    identity = own.identities()[target] if to_identity else torch.zeros_like(whole)
    if to_identity:
        moments = moments - gram + strength * torch.eye(len(gram)).to(gram)
    whole = whole - identity
    channels, taps = spec.in_channels, features_of(spec) // spec.in_channels
    sums = _Sums(gram.reshape(channels, taps, channels, taps), moments.reshape(channels, taps, -1))
    weight = whole.reshape(spec.out_channels, channels, taps)
    solve = _separable if first.groups > 1 else _low_rank
    front, back = solve(sums, weight, first.out_channels)
    front = front.reshape(first.out_channels, -1, *first.kernel_size)
    back = back.reshape(second.out_channels, -1, *second.kernel_size)
    bias = own.bias_of(composed(front, back) + identity)
    single = [tensor.to(inputs.dtype) for tensor in (front, back, bias)]
    rest = wanted - inputs if to_identity else wanted
    error = _error(inputs, rest, factors, *single) / max(float(wanted.var()), 1e-30)
    return Fitted(single[1], single[2], dense.ridge, error, first=single[0])


def composed(first: Tensor, second: Tensor) -> Tensor:
    """The dense weight (out_channels, in_channels, kH, kW) that two compute together.

    Args:
        first: depthwise (channels, 1, kH, kW), or 1x1 (rank, in_channels, 1, 1).
        second: 1x1 (out_channels, channels, 1, 1), or (out_channels, rank, kH, kW).
    """
    if first.shape[1] == 1 and second.shape[-2:] == (1, 1) and first.shape[0] == second.shape[1]:
        return second * first[:, 0]
    return torch.einsum("orhw,rc->ochw", second, first[:, :, 0, 0])


def factored_workload(spec: Convolution, factors: tuple[Convolution, Convolution]) -> Workload:
    """What ``factored`` takes beside the dense solution."""
    features, (first, second) = features_of(spec), factors
    if first.groups > 1:
        each = features**3 // 6 + 3 * features**2 + spec.in_channels**3 // 6
        return Workload(macs64=_ROUNDS * each)
    rows = features * spec.out_channels * spec.in_channels
    return Workload(macs64=rows + features**2 * first.out_channels + features_of(second) ** 3 // 6)


def _separable(sums: _Sums, dense: Tensor, _: int) -> tuple[Tensor, Tensor]:
    """Depthwise (channels, taps) and 1x1 (out_channels, channels)."""
    _, _, right = torch.linalg.svd(dense.transpose(0, 1), full_matrices=False)
    depthwise = right[:, 0]
    pointwise = _pointwise(sums, depthwise)
    for _round in range(_ROUNDS):
        channels, taps = depthwise.shape
        gram = sums.gram * (pointwise.T @ pointwise)[:, None, :, None]
        moments = torch.einsum("oc,cuo->cu", pointwise, sums.moments)
        solution = _solved(gram.reshape(channels * taps, -1), moments.reshape(-1, 1))
        depthwise = solution.reshape(channels, taps)
        length = depthwise.norm(dim=1, keepdim=True)
        depthwise = depthwise / length.clamp_min(length.mean() * _JITTER + 1e-300)
        pointwise = _pointwise(sums, depthwise)
    return depthwise, pointwise


def _pointwise(sums: _Sums, depthwise: Tensor) -> Tensor:
    """The best 1x1 convolution (out_channels, channels) behind a depthwise one."""
    half = (sums.gram * depthwise).sum(3)
    gram = (half * depthwise[:, :, None]).sum(1)
    moments = torch.einsum("cu,cuo->co", depthwise, sums.moments)
    return _solved(gram, moments).T


def _low_rank(sums: _Sums, dense: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """1x1 (rank, channels) and (out_channels, rank, taps)."""
    channels, taps = sums.gram.shape[:2]
    metric = torch.einsum("cudu->cd", sums.gram)
    factor = _cholesky(metric)
    left, _, _ = torch.linalg.svd(
        factor.T @ dense.transpose(0, 1).reshape(channels, -1), full_matrices=False
    )
    front = torch.linalg.solve_triangular(factor.T, left[:, :rank], upper=True).T
    half = torch.einsum("rc,cudv->rudv", front, sums.gram)
    gram = torch.einsum("rudv,sd->rusv", half, front)
    moments = torch.einsum("rc,cuo->ruo", front, sums.moments)
    back = _solved(gram.reshape(rank * taps, -1), moments.reshape(rank * taps, -1))
    return front, back.T.reshape(-1, rank, taps)


def _solved(gram: Tensor, moments: Tensor) -> Tensor:
    return torch.cholesky_solve(moments, _cholesky(gram))


def _cholesky(gram: Tensor) -> Tensor:
    """The lower factor of a matrix with a little more on its diagonal, in the matrix's place."""
    diagonal = gram.diagonal()
    diagonal += _JITTER * diagonal.mean() + 1e-300
    factor: Tensor = torch.linalg.cholesky(gram, out=gram)
    return factor


def _error(
    inputs: Tensor,
    wanted: Tensor,
    factors: tuple[Convolution, Convolution],
    front: Tensor,
    back: Tensor,
    bias: Tensor,
) -> float:
    """Mean squared error."""
    first, second = factors
    between = convolve(inputs, front, front.new_zeros(len(front)), first)
    return float((convolve(between, back, bias, second) - wanted).square().mean())


def scaled(first: Tensor, second: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Two that compute the same, with given lengths of the first one's output channels.

    Args:
        first: (channels, ..., kH, kW).
        second: (out_channels, channels, kH', kW').
        lengths: (channels,), Euclidean norms.
    """
    own = first.flatten(1).norm(dim=1)
    scale = torch.where(own == 0, torch.ones_like(own), lengths.to(own) / own)
    return first * scale[:, None, None, None], second / scale[None, :, None, None]
