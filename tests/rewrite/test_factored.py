"""Two convolutions in a row, against what they should be and against other solvers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from depthopt.core.operators import Convolution
from depthopt.rewrite.factored import composed, factored, scaled
from depthopt.rewrite.regression import Fitted, Regression, best_fits, convolve

DENSE = Convolution(6, 5, (3, 3), (2, 1), (1, 1, 0, 1))
SEPARABLE = (
    Convolution(6, 6, (3, 3), (2, 1), (1, 1, 0, 1), groups=6),
    Convolution(6, 5, (1, 1)),
)
POINTWISE = Convolution(6, 5, (1, 1))


def low_rank(dense: Convolution, rank: int) -> tuple[Convolution, Convolution]:
    second = Convolution(rank, dense.out_channels, dense.kernel_size, dense.stride, dense.padding)
    return Convolution(dense.in_channels, rank, (1, 1)), second


def shaped(spec: Convolution) -> Tensor:
    shape = spec.out_channels, spec.in_channels // spec.groups, *spec.kernel_size
    return torch.randn(shape, dtype=torch.float64)


def both(factors: tuple[Convolution, Convolution], x: Tensor, *weights: Tensor) -> Tensor:
    first, second, bias = weights
    between = convolve(x, first, first.new_zeros(len(first)), factors[0])
    return convolve(between, second, bias, factors[1])


def regressed(
    dense: Convolution, factors: tuple[Convolution, Convolution], x: Tensor, y: Tensor, ridge: float
) -> tuple[Fitted, Fitted]:
    """The dense solution and that of two, at one ridge."""
    regression = Regression(dense, {"other": 3, "y": dense.out_channels})
    regression.add(x, {"other": torch.zeros_like(y[:, :3]), "y": y})
    whole = best_fits(regression, dense, x, {"y": y}, [ridge])["y"]
    return whole, factored(regression, dense, factors, whole, x, y, target="y")


CASES = [(DENSE, SEPARABLE), (DENSE, low_rank(DENSE, 2)), (POINTWISE, low_rank(POINTWISE, 3))]


@pytest.mark.parametrize(("dense", "factors"), CASES, ids=str)
def test_two_are_found_from_what_they_do(
    dense: Convolution, factors: tuple[Convolution, Convolution]
) -> None:
    torch.manual_seed(0)
    first, second = map(shaped, factors)
    bias = torch.randn(dense.out_channels, dtype=torch.float64)
    x = torch.randn(32, 6, 9, 8, dtype=torch.float64) + 0.5
    y = both(factors, x, first, second, bias)
    _, found = regressed(dense, factors, x, y, 1e-10)
    assert found.error < 1e-12
    assert found.first is not None
    got = composed(found.first, found.weight)
    torch.testing.assert_close(got, composed(first, second), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(both(factors, x, found.first, found.weight, found.bias), y)
    torch.testing.assert_close(convolve(x, got, found.bias, dense), y)


def test_a_low_rank_1x1_is_reduced_rank_regression() -> None:
    """By numpy: the dense solution projected on the first directions of what it gives."""
    torch.manual_seed(1)
    x = torch.randn(40, 6, 5, 5, dtype=torch.float64)
    x[:, 1] += 0.8 * x[:, 0]
    y = convolve(x, shaped(POINTWISE), torch.zeros(5, dtype=torch.float64), POINTWISE)
    y += 0.5 * torch.randn_like(y)
    _, found = regressed(POINTWISE, low_rank(POINTWISE, 2), x, y, 1e-12)
    rows = x.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    targets = y.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    rows, targets = rows - rows.mean(0), targets - targets.mean(0)
    solution = np.linalg.lstsq(rows, targets, rcond=None)[0]
    *_, directions = np.linalg.svd(rows @ solution, full_matrices=False)
    wanted = solution @ directions[:2].T @ directions[:2]
    got = composed(found.first, found.weight)[:, :, 0, 0].T.numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)


def squared_error(dense: Convolution, weight: Tensor, x: Tensor, y: Tensor) -> float:
    """With the best bias."""
    rest = convolve(x, weight, weight.new_zeros(len(weight)), dense) - y
    return float((rest - rest.mean((0, 2, 3), keepdim=True)).square().mean())


def test_two_that_are_added_to_the_identity_are_reduced_rank_regression_of_the_rest() -> None:
    """By numpy, with the ridge as more rows: of the rest of the target, drawn to 0."""
    torch.manual_seed(2)
    square, ridge = Convolution(6, 6, (1, 1)), 0.1
    x = torch.randn(40, 6, 5, 5, dtype=torch.float64) + 0.3
    x[:, 1] += 0.8 * x[:, 0]
    y = x + 0.3 * convolve(x, shaped(square), torch.ones(6, dtype=torch.float64), square)
    regression, factors = Regression(square, {"y": 6}), low_rank(square, 2)
    regression.add(x, {"y": y})
    prior = regression.identities()
    whole = best_fits(regression, square, x, {"y": y}, [ridge], prior)["y"]
    found = factored(regression, square, factors, whole, x, y, target="y", to_identity=True)
    assert found.first is not None
    rows, rest = (t.permute(0, 2, 3, 1).flatten(0, 2).numpy() for t in (x, y - x))
    mean, rest_mean = rows.mean(0), rest.mean(0)
    rows, rest = rows - mean, rest - rest_mean
    more = np.sqrt(ridge * (rows**2).sum(0).mean()) * np.eye(6)
    rows, rest = np.concatenate([rows, more]), np.concatenate([rest, 0 * more])
    solution = np.linalg.lstsq(rows, rest, rcond=None)[0]
    *_, directions = np.linalg.svd(rows @ solution, full_matrices=False)
    wanted = solution @ directions[:2].T @ directions[:2]
    got = composed(found.first, found.weight)[:, :, 0, 0].T.numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.bias, rest_mean - mean @ wanted, rtol=1e-6, atol=1e-8)
    error = (both(factors, x, found.first, found.weight, found.bias) + x - y).square().mean()
    assert found.error == pytest.approx(float(error / y.var()))


def test_no_separable_one_nearby_is_better() -> None:
    torch.manual_seed(2)
    x = torch.randn(40, 6, 9, 8, dtype=torch.float64)
    y = convolve(x, shaped(DENSE), torch.zeros(5, dtype=torch.float64), DENSE)
    whole, found = regressed(DENSE, SEPARABLE, x, y, 1e-9)
    least = squared_error(DENSE, composed(found.first, found.weight), x, y)
    by_svd = whole.weight.transpose(0, 1).flatten(2)
    left, values, right = torch.linalg.svd(by_svd, full_matrices=False)
    plain = composed(
        right[:, 0].reshape(6, 1, 3, 3), (left[:, :, 0] * values[:, :1]).T[:, :, None, None]
    )
    assert least < 0.999 * squared_error(DENSE, plain, x, y)
    for _ in range(20):
        first = found.first + 0.05 * torch.randn_like(found.first)
        second = found.weight + 0.05 * torch.randn_like(found.weight)
        assert squared_error(DENSE, composed(first, second), x, y) > least
    assert squared_error(DENSE, whole.weight, x, y) < least


def test_channels_that_nothing_depends_on_do_no_harm() -> None:
    torch.manual_seed(3)
    x = torch.randn(16, 6, 7, 7, dtype=torch.float64)
    x[:, 2] = 0
    y = convolve(x, shaped(DENSE), torch.zeros(5, dtype=torch.float64), DENSE)
    y[:, 1] = 3.0
    for factors in (SEPARABLE, low_rank(DENSE, 4)):
        _, found = regressed(DENSE, factors, x, y, 1e-4)
        assert all(bool(t.isfinite().all()) for t in (found.first, found.weight, found.bias))
        assert found.error < 1


def test_scaled_ones_compute_the_same() -> None:
    torch.manual_seed(4)
    for factors in (SEPARABLE, low_rank(DENSE, 2)):
        first, second = map(shaped, factors)
        first[1] = 0
        lengths = torch.arange(1, len(first) + 1, dtype=torch.float64)
        new = scaled(first, second, lengths)
        torch.testing.assert_close(composed(*new), composed(first, second))
        own = new[0].flatten(1).norm(dim=1)
        assert own[0].allclose(lengths[0])
        assert own[1] == 0
        assert own[2:].allclose(lengths[2:])
