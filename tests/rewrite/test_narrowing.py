"""Which channels stay, and the weights for them, against the same written out."""

import numpy as np
import pytest
import torch

from depthopt.core.operators import Convolution
from depthopt.rewrite.narrowing import channels_of, narrowed, staying
from depthopt.rewrite.regression import Regression, convolve

SPEC = Convolution(6, 5, (3, 3), (2, 1), (1, 1, 0, 1))


def sums(spec: Convolution, x: torch.Tensor, y: torch.Tensor) -> Regression:
    regression = Regression(spec, {"other": 2, "y": spec.out_channels})
    regression.add(x, {"other": torch.zeros_like(y[:, :2]), "y": y})
    return regression


def weights(spec: Convolution) -> tuple[torch.Tensor, torch.Tensor]:
    shape = spec.out_channels, spec.in_channels, *spec.kernel_size
    return torch.randn(shape, dtype=torch.float64), torch.randn(shape[0], dtype=torch.float64)


def windows(spec: Convolution, x: torch.Tensor, channels: list[int]) -> np.ndarray:
    """The centred design matrix of some channels, (pixels, features)."""
    padded = torch.nn.functional.pad(x[:, channels], spec.padding)
    rows = torch.nn.functional.unfold(padded, spec.kernel_size, spec.dilation, 0, spec.stride)
    design = rows.transpose(1, 2).flatten(0, 1).numpy()
    return design - design.mean(0)


def joined(units: list[list[int]]) -> list[int]:
    return [channel for unit in units for channel in unit]


def squared_error(design: np.ndarray, y: torch.Tensor) -> float:
    rows = y.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    rows = rows - rows.mean(0)
    solution = np.linalg.lstsq(design, rows, rcond=None)[0]
    return float(np.square(rows - design @ solution).sum())


def test_all_channels_kept_are_the_convolution_as_it_was() -> None:
    torch.manual_seed(0)
    (weight, bias), x = weights(SPEC), torch.randn(32, 6, 7, 8, dtype=torch.float64)
    y = convolve(x, weight, bias, SPEC)
    found = narrowed(sums(SPEC, x, y), SPEC, x, y, weight, [6], target="y")[6]
    torch.testing.assert_close(found.weight, weight, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.bias, bias, rtol=1e-9, atol=1e-9)


def test_dead_channels_go_first_and_copies_next_at_no_cost() -> None:
    torch.manual_seed(1)
    (weight, bias), x = weights(SPEC), torch.randn(64, 6, 7, 8, dtype=torch.float64)
    x[:, 1] = 0  # gives nothing
    weight[:, 4] = 0  # is read by nothing
    x[:, 5] = 2 * x[:, 3]  # gives what another gives
    y = convolve(x, weight, bias, SPEC)
    stays = staying(sums(SPEC, x, y), SPEC, weight, [5, 4, 3], "y")
    assert {1, 4} == set(range(6)) - set(stays[4].tolist())
    assert stays[3].tolist() in ([0, 2, 3], [0, 2, 5])
    kept = narrowed(sums(SPEC, x, y), SPEC, x, y, weight, [4], target="y")[4]
    torch.testing.assert_close(convolve(x, kept.weight, kept.bias, SPEC), y, rtol=1e-9, atol=1e-9)


def test_a_copy_costs_nothing() -> None:
    torch.manual_seed(2)
    spec = Convolution(4, 3, (1, 1))
    (weight, bias), x = weights(spec), torch.randn(16, 4, 5, 5, dtype=torch.float64)
    x[:, 3] = -3 * x[:, 0] + 0.5
    y = convolve(x, weight, bias, spec)
    found = narrowed(sums(spec, x, y), spec, x, y, weight, [3, 2], target="y")
    assert found[3].error < 1e-10
    assert found[2].error > 1e-2, "what no other gives is missed"


@pytest.mark.parametrize("together", [1, 2])
def test_each_step_leaves_out_what_the_rest_does_best_without(together: int) -> None:
    torch.manual_seed(3)
    x = torch.randn(40, 6, 6, 6, dtype=torch.float64)
    x[:, 2] += 0.9 * x[:, 0] - 0.5 * x[:, 4]
    (weight, bias) = weights(SPEC)
    y = convolve(x, weight, bias, SPEC)
    y = y + 0.1 * torch.randn_like(y)
    units = [list(range(u, u + together)) for u in range(0, 6, together)]
    while len(units) > 1:
        rest = [[u for u in units if u is not gone] for gone in units]
        units = min(rest, key=lambda r: squared_error(windows(SPEC, x, joined(r)), y))
        count = together * len(units)
        found = staying(sums(SPEC, x, y), SPEC, weight, [count], "y", together)[count]
        assert found.tolist() == joined(units)


def test_weights_solve_the_normal_equations_of_what_stays() -> None:
    torch.manual_seed(4)
    x = torch.randn(40, 6, 6, 6, dtype=torch.float64)
    weight, bias = weights(SPEC)
    y = convolve(x, weight, bias, SPEC)
    y = y + torch.randn_like(y)
    found = narrowed(sums(SPEC, x, y), SPEC, x, y, weight, [4], target="y")[4]
    stays = channels_of(found.weight, 4).tolist()
    design = windows(SPEC, x, stays)
    rows = y.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    gram = design.T @ design
    strength = found.ridge * gram.diagonal().mean()
    # Ridge as further rows: sqrt(strength) * W = sqrt(strength) * W0.
    prior = weight[:, stays].flatten(1).numpy().T
    more = np.sqrt(strength) * np.eye(len(gram))
    wanted = np.linalg.lstsq(
        np.concatenate([design, more]),
        np.concatenate([rows - rows.mean(0), np.sqrt(strength) * prior]),
        rcond=None,
    )[0]
    np.testing.assert_allclose(found.weight[:, stays].flatten(1).numpy().T, wanted, rtol=1e-7)
    assert not found.weight[:, [c for c in range(6) if c not in stays]].any()


def test_of_many_channels_several_go_between_two_inverses_and_no_pair_of_copies_does() -> None:
    torch.manual_seed(5)
    spec = Convolution(80, 7, (1, 1))
    x = torch.randn(60, 40, 4, 4, dtype=torch.float64).repeat(1, 2, 1, 1)
    weight, bias = weights(spec)
    y = convolve(x, weight, bias, spec)
    stays = staying(sums(spec, x, y), spec, weight, [64, 40], "y")
    assert sorted(c % 40 for c in stays[40].tolist()) == list(range(40))
    assert set(stays[40].tolist()) < set(stays[64].tolist())


def test_channels_of_weights_that_are_zero_by_chance_stay_too() -> None:
    weight = torch.zeros(2, 6, 1, 1)
    weight[:, 3] = 1
    assert channels_of(weight, 3).tolist() == [0, 1, 3]
    assert channels_of(weight, 4, together=2).tolist() == [0, 1, 2, 3]
