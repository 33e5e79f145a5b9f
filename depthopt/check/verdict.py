"""Decide from intervals between three outcomes: pass, regression, inconclusive."""

from dataclasses import dataclass
from typing import Literal

from depthopt.check.statistics import Change

Outcome = Literal["pass", "regression", "inconclusive"]

EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regression": 1, "inconclusive": 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with its reason, in one line; for an inconclusive one, what would settle it."""

    outcome: Outcome
    reason: str


def confirmed(second: Change, verdict: Verdict, both: Verdict, tolerance: float) -> Verdict:
    """The verdict on a suspected regression, after a second measurement with other sessions.

    It is called if the second one points the same way, and both together are beyond doubt.

    Args:
        second: the change that it found.
        verdict: on it alone.
        both: the verdict on all samples together.
        tolerance: largest accepted change, as a fraction.
    """
    agrees = verdict.outcome != "pass" and second.estimate > tolerance
    if agrees or both.outcome != "regression":
        return both
    return Verdict(
        "inconclusive",
        f"one measurement found a regression, but a second one only {second}; check again on "
        "an idle machine, or measure longer (--seconds)",
    )


def judge(change: Change, control: Change, tolerance: float) -> Verdict:
    """Compare an interval with a tolerance, with a control that shows the machine's noise.

    Args:
        change: of the current network against the baseline.
        control: of the baseline against itself.
        tolerance: largest accepted change, as a fraction.
    """
    floor = control.reach
    against = f"tolerance {tolerance:.1%}, noise floor {floor:.1%}"
    if change.low > tolerance and change.estimate > floor:
        return Verdict("regression", f"slower by {change}; {against}")
    if floor > tolerance:
        return Verdict(
            "inconclusive",
            f"a network against itself differs by up to {floor:.1%}, more than the tolerance "
            f"{tolerance:.1%}; measure on an idle machine, longer (--seconds), or with a "
            "larger --tolerance",
        )
    if change.high < tolerance:
        faster = change.high < 0 and -change.estimate > floor
        what = "faster" if faster else "not slower than accepted"
        return Verdict("pass", f"{what}: {change}; {against}")
    return Verdict(
        "inconclusive",
        f"the tolerance {tolerance:.1%} lies within the interval of {change}; measure longer "
        "(--seconds), on an idle machine, or set another tolerance",
    )
