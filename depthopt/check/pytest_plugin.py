"""The pytest fixture ``assert_latency``, which fails a test when a network became slower.

    def test_the_detector_is_as_fast_as_it_was(assert_latency):
        assert_latency("detector.onnx", baseline="detector-v1.onnx", tolerance="5%")

Nothing heavy is imported until a test uses it: pytest loads this in every run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from depthopt.check.check import CheckReport


class AssertLatency(Protocol):
    """The fixture's type."""

    def __call__(
        self,
        model: str | Path,
        *,
        baseline: str | Path,
        tolerance: float | str = 0.05,
        runtime: str = "onnxruntime",
        threads: int = 1,
        batch: int = 1,
        seconds: float = 15.0,
    ) -> "CheckReport":
        """Fail the test unless ``model`` passes against ``baseline``."""
        ...


@pytest.fixture
def assert_latency() -> AssertLatency:
    """Fail a test if a network became slower or larger, or if that cannot be decided.

    Called with the network and ``baseline=``: another network, or a file that ``depthopt
    check --record`` wrote. It gives the report.
    """
    return _assert_latency


def _assert_latency(
    model: str | Path,
    *,
    baseline: str | Path,
    tolerance: float | str = 0.05,
    runtime: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    seconds: float = 15.0,
) -> "CheckReport":
    __tracebackhide__ = True
    from depthopt.check.check import check  # noqa: PLC0415 - as above
    from depthopt.check.figures import Tolerances, fraction  # noqa: PLC0415 - as above
    from depthopt.check.formats import reason  # noqa: PLC0415 - as above
    from depthopt.check.recorded import check_against  # noqa: PLC0415 - torch takes seconds
    from depthopt.core.clipped import one_line  # noqa: PLC0415 - as above
    from depthopt.errors import DepthoptError  # noqa: PLC0415 - as above
    from depthopt.runtimes.registry import get_runtime  # noqa: PLC0415 - as above

    compare = check_against if Path(baseline).suffix == ".json" else check
    try:
        report = compare(
            Path(baseline),
            Path(model),
            runtime=get_runtime(runtime, threads=threads),
            batch=batch,
            tolerances=Tolerances(latency=fraction(str(tolerance))),
            seconds=seconds,
        )
    except (DepthoptError, OSError) as error:
        pytest.fail(f"not checked: {one_line(error)}", pytrace=False)
    except Exception as error:
        raise RuntimeError(
            f"not checked, and no regression: a defect of depthopt: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error
    if report.outcome != "pass":
        pytest.fail(f"{report.outcome}: {reason(report)}", pytrace=False)
    return report
