import pytest
import torch
import torch.nn.functional as F

from depthopt.core.operators import Convolution
from depthopt.errors import DataError
from depthopt.rewrite.regression import Regression, best_fits, convolve

DENSE = Convolution(3, 5, (5, 5), (2, 2), (2, 2, 2, 2))
DEPTHWISE = Convolution(4, 4, (3, 3), (1, 1), (1, 1, 1, 1), groups=4)


@pytest.mark.parametrize(
    "spec", [DENSE, DEPTHWISE, Convolution(4, 6, (1, 3), padding=(0, 2, 0, 0))]
)
def test_a_convolution_is_found_from_what_it_does(spec: Convolution) -> None:
    torch.manual_seed(0)
    inner = spec.in_channels // spec.groups
    weight = torch.randn(spec.out_channels, inner, *spec.kernel_size, dtype=torch.float64)
    bias = torch.randn(spec.out_channels, dtype=torch.float64)
    regression = Regression(spec, {"y": spec.out_channels})
    for _ in range(3):
        x = torch.randn(16, spec.in_channels, 9, 9, dtype=torch.float64) + 0.5
        regression.add(x, {"y": convolve(x, weight, bias, spec)})
    found, offset = regression.solve(spec, 1e-12)["y"]
    torch.testing.assert_close(found, weight, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(offset, bias, rtol=1e-8, atol=1e-8)


def test_batches_and_targets_add_up_to_one_least_squares_problem() -> None:
    torch.manual_seed(1)
    spec = Convolution(2, 3, (3, 3), padding=(1, 1, 1, 1))
    x = torch.randn(8, 2, 6, 6, dtype=torch.float64)
    targets = {
        "a": torch.randn(8, 3, 6, 6, dtype=torch.float64),
        "b": torch.randn(8, 2, 6, 6, dtype=torch.float64),
    }
    regression = Regression(spec, {"a": 3, "b": 2})
    for i in range(0, 8, 2):
        regression.add(x[i : i + 2], {name: y[i : i + 2] for name, y in targets.items()})
    windows = F.unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 18)
    design = torch.cat([windows, torch.ones(len(windows), 1, dtype=torch.float64)], 1)
    for name, y in targets.items():
        rows = y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])
        wanted = torch.linalg.lstsq(design, rows).solution
        weight, bias = regression.solve(spec, 1e-13)[name]
        torch.testing.assert_close(weight.reshape(y.shape[1], -1).T, wanted[:-1])
        torch.testing.assert_close(bias, wanted[-1])


def test_one_gram_matrix_serves_smaller_kernels() -> None:
    torch.manual_seed(2)
    large = Convolution(3, 4, (5, 5), (2, 2), (2, 2, 2, 2))
    small = Convolution(3, 4, (3, 3), (2, 2), (1, 1, 1, 1))
    x = torch.randn(8, 3, 8, 8, dtype=torch.float64)
    y = torch.randn(8, 4, 4, 4, dtype=torch.float64)
    shared, own = Regression(large, {"y": 4}), Regression(small, {"y": 4})
    shared.add(x, {"y": y})
    own.add(x, {"y": y})
    for got, wanted in zip(
        shared.solve(small, 1e-3)["y"], own.solve(small, 1e-3)["y"], strict=True
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("features", [27, 36])
def test_half_of_a_large_gram_matrix_is_enough(monkeypatch, features) -> None:
    """Of numbers that are sums of few bits, every order of adding gives the same."""
    spec = Convolution(features // 9, 2, (3, 3), padding=(1, 1, 1, 1))
    channels = torch.tensor([2, 0])
    found = []
    for halved in (10**6, 1):
        monkeypatch.setattr("depthopt.rewrite.regression._HALVED", halved)
        torch.manual_seed(2)
        regression = Regression(spec, {"y": 2})
        for _ in range(2):
            x = torch.randint(-9, 9, (5, spec.in_channels, 4, 4)).float()
            regression.add(x, {"y": torch.randint(-9, 9, (5, 2, 4, 4)).float()})
            # What was read in between is not what is read at the end.
            gram, _, _ = regression.normal_equations(spec, 1e-3)
        own = regression.of_channels(spec, channels, "y")
        found.append(
            (gram, own.normal_equations(own.spec, 1e-3)[0], *regression.solve(spec, 1e-3)["y"])
        )
    for halved, whole in zip(*found, strict=True):
        assert torch.equal(halved, whole)


def test_the_ridge_is_chosen_on_held_out_data() -> None:
    torch.manual_seed(3)
    spec = Convolution(6, 2, (3, 3), padding=(1, 1, 1, 1))
    noise = lambda n: torch.randn(n, 2, 4, 4)  # noqa: E731
    x, held_out = torch.randn(4, 6, 4, 4), torch.randn(64, 6, 4, 4)
    regression = Regression(spec, {"y": 2})
    regression.add(x, {"y": noise(4)})
    fits = best_fits(regression, spec, held_out, {"y": noise(64)}, ridges=(1e-6, 10.0))
    assert fits["y"].ridge == 10.0, "there is nothing to learn"


def test_constant_channels_do_no_harm() -> None:
    """Each group of its own is singular, whatever its mean."""
    spec = Convolution(4, 4, (3, 3), (1, 1), (0, 0, 0, 0), groups=4)
    regression = Regression(spec, {"y": 4})
    constants = torch.tensor([0.0, 1e-3, 7.3, 1e4]).reshape(1, 4, 1, 1)
    for _ in range(7):
        regression.add(constants.expand(9, 4, 6, 6), {"y": torch.randn(9, 4, 4, 4)})
    weight, bias = regression.solve(spec, 1e-4)["y"]
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()


def test_dead_channels_do_no_harm_and_nan_is_refused() -> None:
    spec = Convolution(3, 2, (1, 1))
    x, y = torch.randn(4, 3, 5, 5), torch.randn(4, 2, 5, 5)
    x[:, 1] = 0
    regression = Regression(spec, {"y": 2})
    regression.add(x, {"y": y})
    weight, bias = regression.solve(spec, 1e-4)["y"]
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()
    regression.add(x, {"y": y * torch.nan})
    with pytest.raises(DataError, match="NaN"):
        regression.solve(spec, 1e-4)
