"""Convolutions regressed on data: ridge least squares over the windows of a tensor.

With X the matrix of all windows (one row an output pixel) and Y the wanted outputs, a
group's weight solves ``(Xc'Xc + ridge * mean(diag(Xc'Xc)) * I) W = Xc'Yc``, where ``c``
marks centred columns; the bias takes up the means and is not shrunk. With a *prior* weight
W0, W is drawn to it and not to 0: ``ridge * ... * W0`` is added on the right. X is never
kept: its Gram matrix is accumulated in float64 over batches, so memory does not grow
with the number of images. One Gram matrix serves every target and every smaller kernel.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from depthopt.core.operators import Convolution
from depthopt.core.workload import Workload
from depthopt.errors import DataError
from depthopt.rewrite.problem import features_of, sums_bytes
from depthopt.rewrite.ridges import FIT_RIDGES

_CHUNK_BYTES = 4 * 2**20
"""Of windows at a time, so that they are still in the cache when they are multiplied."""

_HALVED = 1024
"""Least number of features for which one triangle of a Gram matrix is computed and mirrored."""

_BANDS = 8
"""Bands of rows that such a matrix is computed in."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A regressed convolution.

    Attributes:
        weight: (out_channels, in_channels // groups, kH, kW), float32.
        bias: (out_channels,), float32.
        ridge: the regularisation it was solved with.
        error: mean squared error on held-out data over the target's variance; NaN if
            there was none to choose by.
        first: weight of the convolution before it, where two are regressed in a row.
        inner: weights and biases of what else was regressed where it reads fewer channels
            (``depthopt.rewrite.inner``).
    """

    weight: Tensor
    bias: Tensor
    ridge: float
    error: float
    first: Tensor | None = None
    inner: tuple[tuple[Tensor, Tensor], ...] = ()


class Regression:
    """Accumulates the normal equations of one input tensor against several targets.

    Attributes:
        spec: the largest convolution that can be solved for.
        device: where the sums are kept.
        features: weights per output of that convolution.
        targets: output channels by target name.
        count: output pixels seen.
    """

    def __init__(
        self,
        spec: Convolution,
        targets: Mapping[str, int],
        device: torch.device | None = None,
    ) -> None:
        """Start with nothing accumulated.

        Args:
            spec: the largest convolution that will be solved for; its ``out_channels``
                do not matter.
            targets: output channels by target name.
            device: where batches lie and sums are kept; the CPU by default.
        """
        self.spec, self.device = spec, device
        self._groups = spec.groups
        features = self.features = features_of(spec)
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._lower, self._complete = zeros((spec.groups, features, features)), True
        self._sums = zeros((spec.groups, features))
        self.targets = dict(targets)
        columns = sum(targets.values()) // spec.groups
        self._moments = zeros((spec.groups, features, columns))
        self._target_sums = zeros((spec.groups, columns))
        self.count = 0

    @classmethod
    def workload(
        cls, spec: Convolution, out_channels: int, *, pixels: int, solves: int
    ) -> Workload:
        """What it takes to accumulate output pixels, and to solve for ``spec`` so many times.

        A pixel adds one product to every accumulator. A solution factorises a copy of the Gram
        matrix, n^3 / 6 multiply-accumulates, and substitutes in it twice, n^2 / 2 an output each.
        """
        features, needed = features_of(spec), sums_bytes(spec, out_channels)
        solving = spec.groups * features**3 // 6 + features**2 * out_channels
        return Workload(macs64=needed // 8 * pixels + solves * solving, memory_bytes=2 * needed)

    def add(self, inputs: Tensor, targets: Mapping[str, Tensor]) -> None:
        """Accumulate one batch.

        Args:
            inputs: (N, in_channels, H, W).
            targets: (N, out_channels, H', W') by target name.
        """
        kh, kw = self.spec.kernel_size
        height, width = next(iter(targets.values())).shape[-2:]
        row_bytes = 8 * self.spec.in_channels * kh * kw * height * width
        step = max(1, _CHUNK_BYTES // row_bytes)
        for begin in range(0, len(inputs), step):
            part = slice(begin, begin + step)
            self._add(inputs[part], [targets[name][part] for name in self.targets])

    def _add(self, inputs: Tensor, targets: Sequence[Tensor]) -> None:
        groups = self._groups
        windows = self._windows(F.pad(inputs.double(), self.spec.padding))
        n, _, pixels = windows.shape
        # (groups, features, images * pixels), one column an output pixel.
        x = (
            windows.reshape(n, groups, -1, pixels)
            .permute(1, 2, 0, 3)
            .reshape(groups, -1, n * pixels)
        )
        y = torch.cat(
            [t.double().reshape(n, groups, -1, pixels) for t in targets], dim=2
        ).permute(1, 0, 3, 2).reshape(groups, n * pixels, -1)  # fmt: skip
        _add_products(self._lower, x)
        self._complete = False
        self._moments.baddbmm_(x, y)
        self._sums += x.sum(2)
        self._target_sums += y.sum(1)
        self.count += n * pixels

    @property
    def _gram(self) -> Tensor:
        """(groups, features, features), both triangles of it."""
        if not self._complete:
            _copy_to_upper(self._lower)
            self._complete = True
        return self._lower

    def _windows(self, padded: Tensor) -> Tensor:
        """(N, in_channels * kH * kW, pixels) of (N, in_channels, H, W)."""
        spec = self.spec
        if spec.kernel_size == (1, 1):
            return padded[:, :, :: spec.stride[0], :: spec.stride[1]].flatten(2)
        return F.unfold(padded, spec.kernel_size, dilation=spec.dilation, stride=spec.stride)

    def solve(
        self, spec: Convolution, ridge: float, prior: Mapping[str, Tensor] | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Weights and biases of ``spec`` for every target.

        Args:
            spec: a convolution whose kernel lies inside that of the regression.
            ridge: relative regularisation.
            prior: by target name, the weight that the solution is drawn to; 0 without it.

        Returns:
            weight: (out_channels, in_channels // groups, kH, kW) and bias:
            (out_channels,) by target name, in float64.

        Raises:
            DataError: a tensor holds NaN.
        """
        groups, inner = self._groups, spec.in_channels // self._groups
        gram, moments, strength = self.normal_equations(spec, ridge)
        if prior is not None:
            moments += strength[:, :, None] * self._joined(prior)
        factor = torch.linalg.cholesky(gram, out=gram)
        solution = torch.cholesky_solve(moments, factor)
        del gram, moments, factor  # before the weights, which take as much
        mean = self._sums[:, self._taps(spec)] / self.count
        bias = self._target_sums / self.count - torch.einsum("gf,gfo->go", mean, solution)
        return self._split(solution, bias, (inner, *spec.kernel_size), groups)

    def normal_equations(self, spec: Convolution, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
        """The centred Gram matrix of ``spec`` with the ridge on its diagonal, and the moments.

        Returns:
            The matrix (groups, features, features), the moments of all targets (groups, features,
            channels), and what was added to the diagonal (groups, 1), in float64.

        Raises:
            DataError: a tensor holds NaN.
        """
        taps = self._taps(spec)
        mean = self._sums[:, taps] / self.count
        target_mean = self._target_sums / self.count
        whole = spec.kernel_size == self.spec.kernel_size
        gram = self._gram.clone() if whole else self._gram[:, taps[:, None], taps]
        gram.baddbmm_(mean[:, :, None], mean[:, None], alpha=-self.count)  # the only copy
        moments, begin = self._moments[:, taps], 0
        for channels in self.targets.values():  # one at a time: together they are as large again
            part = slice(begin, begin + channels // self._groups)
            moments[..., part] -= self.count * mean[:, :, None] * target_mean[:, None, part]
            begin = part.stop
        if not bool(torch.isfinite(moments).all()):
            raise DataError("the calibration tensors hold NaN or infinite values")
        diagonal = gram.diagonal(dim1=1, dim2=2)
        # Centring a constant channel leaves rounding errors of its mean square, which a share
        # of the (tiny) variance alone would not outweigh.
        raw = self._gram.diagonal(dim1=1, dim2=2)[:, taps].mean(1, keepdim=True)
        strength = ridge * diagonal.mean(1, keepdim=True).clamp_min(0) + 1e-12 * raw + 1e-12
        diagonal += strength
        return gram, moments, strength

    def of_channels(
        self, spec: Convolution, channels: Tensor, target: str, outputs: Tensor | None = None
    ) -> "Regression":
        """The sums of some input channels and one target, as if there were no others.

        Args:
            spec: a dense convolution whose kernel lies inside that of the regression.
            channels: indices of the input channels, in the order that they get.
            target: its name.
            outputs: indices of the target's channels; all of them if None.
        """
        begin = sum(list(self.targets.values())[: list(self.targets).index(target)])
        columns = torch.arange(begin, begin + self.targets[target], device=channels.device)
        columns = columns if outputs is None else columns[outputs]
        found = Regression(
            replace(spec, in_channels=len(channels)), {target: len(columns)}, self.device
        )
        taps = self._taps(spec).reshape(spec.in_channels, -1)[channels].reshape(-1)
        # All of them share the sums, which are as large as the problem: nothing more is added.
        everything = torch.equal(taps, torch.arange(self.features, device=taps.device))
        found._lower = self._gram if everything else self._gram[:, taps[:, None], taps]
        found._sums = self._sums[:, taps]
        found._moments = self._moments[:, taps[:, None], columns]
        found._target_sums = self._target_sums[:, columns]
        found.count = self.count
        return found

    def bias_of(self, weight: Tensor) -> Tensor:
        """The bias (out_channels,) with which a weight of the only target has no mean error.

        Args:
            weight: (out_channels, in_channels // groups, kH, kW), of the regression's kernel.
        """
        rows = weight.double().reshape(self._groups, len(weight) // self._groups, -1)
        outputs = torch.einsum("gf,gof->go", self._sums, rows)
        return ((self._target_sums - outputs) / self.count).reshape(-1)

    def identities(self) -> dict[str, Tensor]:
        """For every target the weight (channels, channels, 1, 1) of the identity, as a prior."""
        eye = partial(torch.eye, dtype=torch.float64, device=self.device)
        return {name: eye(channels)[:, :, None, None] for name, channels in self.targets.items()}

    def output_moments(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (out_channels,) of what a convolution without bias gives.

        Args:
            weight: (out_channels, in_channels // groups, kH, kW), of the regression's kernel.
        """
        rows = weight.double().reshape(self._groups, len(weight) // self._groups, -1)
        mean = self._sums / self.count
        outputs = torch.einsum("gf,gof->go", mean, rows)
        squares = torch.einsum("gof,gfh,goh->go", rows, self._gram / self.count, rows)
        return outputs.reshape(-1), (squares - outputs.square()).clamp_min(0).reshape(-1)

    def _joined(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Weights of all targets as (groups, features, columns)."""
        return torch.cat(
            [
                weights[name].double().reshape(self._groups, channels // self._groups, -1)
                for name, channels in self.targets.items()
            ],
            dim=1,
        ).transpose(1, 2)

    def _taps(self, spec: Convolution) -> Tensor:
        """Indices, among the largest kernel's features, of those of ``spec``."""
        kh, kw = self.spec.kernel_size
        left, _, top, _ = self.spec.padding
        row, column = top - spec.padding[2], left - spec.padding[0]
        index = torch.arange(self.features, device=self._sums.device)
        grid = index.reshape(-1, kh, kw)
        height, width = spec.kernel_size
        return grid[:, row : row + height, column : column + width].reshape(-1)

    def _split(
        self, solution: Tensor, bias: Tensor, kernel: tuple[int, ...], groups: int
    ) -> dict[str, tuple[Tensor, Tensor]]:
        result, begin = {}, 0
        for name, channels in self.targets.items():
            part = slice(begin, begin + channels // groups)
            weight = solution[:, :, part].transpose(1, 2).reshape(channels, *kernel)
            result[name] = (weight, bias[:, part].reshape(channels))
            begin = part.stop
        return result


def _add_products(gram: Tensor, x: Tensor) -> None:
    """Add ``x x'`` to a Gram matrix, or to its lower triangle if it is large.

    Args:
        gram: (groups, features, features).
        x: (groups, features, pixels).
    """
    if (features := x.shape[1]) < _HALVED:
        gram.baddbmm_(x, x.transpose(1, 2))
        return
    band = -(-features // _BANDS)
    for own, rows in zip(gram, x, strict=True):
        for end in range(band, features + band, band):
            part = slice(end - band, end)
            own[part, :end].addmm_(rows[part], rows[:end].T)


def _copy_to_upper(gram: Tensor) -> None:
    """Make a matrix symmetric whose lower triangle alone was computed, as above."""
    if (features := gram.shape[1]) < _HALVED:
        return
    band = -(-features // _BANDS)
    for begin in range(0, features, band):
        end = begin + band
        gram[:, begin:end, end:] = gram[:, end:, begin:end].transpose(1, 2)


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor, spec: Convolution) -> Tensor:
    """Apply ``spec`` with these weights to (N, C, H, W)."""
    padded = F.pad(inputs, spec.padding)
    return F.conv2d(padded, weight, bias, spec.stride, 0, spec.dilation, spec.groups)


def error_of(
    inputs: Tensor, weight: Tensor, bias: Tensor, spec: Convolution, wanted: Tensor
) -> float:
    """Mean squared error of what ``convolve`` gives, over the variance of what is wanted."""
    error = float((convolve(inputs, weight, bias, spec) - wanted).square().mean())
    return error / max(float(wanted.var()), 1e-30)


def best_fits(
    regression: Regression,
    spec: Convolution,
    held_out_inputs: Tensor,
    held_out_targets: Mapping[str, Tensor],
    ridges: Iterable[float] = FIT_RIDGES,
    prior: Mapping[str, Tensor] | None = None,
) -> dict[str, Fitted]:
    """For every target, the solution whose ridge serves held-out data best.

    Args:
        regression: the accumulated equations.
        spec: the convolution to solve for; ``out_channels`` do not matter.
        held_out_inputs: (N, in_channels, H, W), not among what was accumulated.
        held_out_targets: (N, out_channels, H', W') by target name.
        ridges: the strengths to try.
        prior: see ``Regression.solve``.
    """
    best: dict[str, Fitted] = {}
    for ridge in ridges:
        for name, (weight, bias) in regression.solve(spec, ridge, prior).items():
            if name not in held_out_targets:
                continue
            single = weight.to(held_out_inputs.dtype), bias.to(held_out_inputs.dtype)
            error = error_of(held_out_inputs, *single, spec, held_out_targets[name])
            if name not in best or error < best[name].error:
                best[name] = Fitted(*single, ridge, error)
    return best
