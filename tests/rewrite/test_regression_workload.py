"""What a regression says that it takes, against what torch counts and holds."""

import pytest
import torch

from depthopt.core.operators import Convolution
from depthopt.rewrite.regression import Regression
from tests.flops import macs

SPECS = [
    Convolution(4, 6, (3, 3), (2, 2), padding=(1, 1, 1, 1)),
    Convolution(6, 6, (3, 3), padding=(1, 1, 1, 1), groups=6),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_accumulating_takes_the_products_that_torch_counts(spec: Convolution) -> None:
    regression = Regression(spec, {"a": 6, "b": 12})
    images, size = 5, spec.output_size((8, 9))
    inputs = torch.randn(images, spec.in_channels, 8, 9)
    targets = {name: torch.randn(images, n, *size) for name, n in (("a", 6), ("b", 12))}
    counted = macs(lambda: regression.add(inputs, targets))["baddbmm_"]
    work = Regression.workload(spec, 18, pixels=regression.count, solves=0)
    assert work.macs64 == counted > 0
    assert regression.count == images * size[0] * size[1]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_solving_takes_a_copy_and_a_factorisation_for_every_ridge(spec: Convolution) -> None:
    regression = Regression(spec, {"a": 6, "b": 12})
    held = [v for v in vars(regression).values() if isinstance(v, torch.Tensor) and v.ndim == 3]
    once, thrice = (Regression.workload(spec, 18, pixels=0, solves=n) for n in (1, 3))
    assert once.memory_bytes == thrice.memory_bytes == 2 * sum(v.nbytes for v in held)
    n = regression.features
    assert once.macs64 == pytest.approx(spec.groups * n**3 / 6 + n**2 * 18, rel=0.02)
    assert thrice.macs64 == 3 * once.macs64
