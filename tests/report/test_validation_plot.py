"""Predicted over measured, drawn."""

import re

from depthopt.report.validation import validation_svg
from depthopt.tables.latency import MeasurementConditions
from depthopt.tables.validation import PlanTiming, Validation

CONDITIONS = MeasurementConditions("device", "onnxruntime", "1", 1, "float32", 1)
VALIDATION = Validation(
    "net <a&b> @3x8x8",
    CONDITIONS,
    0,
    0.98,
    (PlanTiming(1.0, 2.0, 2.5, ()), PlanTiming(1.0, 3.0, 2.9, ()), PlanTiming(1.0, 1.2, 1.2, ())),
)


def test_the_plot_says_what_and_how_good() -> None:
    drawn = validation_svg(VALIDATION).decode()
    text = " ".join(re.findall(r">([^<]+)</text>", drawn))
    assert "net &lt;a&amp;b&gt; @3x8x8, onnxruntime: 3.4 % median" in text
    assert "measured speed-up" in text
    assert drawn == validation_svg(VALIDATION).decode()


def test_several_validations_share_a_plot() -> None:
    one, two = (validation_svg(*[VALIDATION] * n).decode() for n in (1, 2))
    assert two.count("3.4 % median") == 2 * one.count("3.4 % median")
