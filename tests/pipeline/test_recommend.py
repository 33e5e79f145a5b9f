"""Which speed-up is recommended, and why."""

from dataclasses import replace

from depthopt.core.candidate import kept_blocks
from depthopt.core.explored import Asked, Attempt, Explored, Finetuned, Found
from depthopt.core.metric import Metric
from depthopt.core.plan import Plan
from depthopt.pipeline.recommend import band_of, recommended
from depthopt.report.explored import plot
from tests.report.run_folder import small_chain

ACCURACY = Metric("accuracy", "%", scale=100)
LOSS = Metric("loss", higher_is_better=False)
KEPT = kept_blocks(small_chain())


def attempt(cost: float, speedup: float, metric: float) -> Attempt:
    plan = Plan("net", (4, 16, 16), KEPT, 1 / speedup, 1.0, cost)
    return Attempt(
        plan, speedup, Found(metric - 10, 0.1, 9999), (Finetuned(64, Found(metric, 0.1, 9999)),)
    )


def explored(*metrics: float, metric: Metric = ACCURACY, original: float = 95.0) -> Explored:
    """Plans of 1.5x, 2x, 2.5x ... that came to so much, all wholly finetuned."""
    speedups = [1.5 + 0.5 * i for i in range(len(metrics))]
    attempts = [attempt(0.1 * s, s, m) for s, m in zip(speedups, metrics, strict=True)]
    asked = [Asked(s, i) for i, s in enumerate(speedups)]
    return Explored(
        "net", "digits", metric, Found(original, 0.1, 9999), 9999, 64,
        tuple(attempts), (*asked, Asked(9.0, None)),
    )  # fmt: skip


def test_the_largest_speedup_of_which_a_point_is_lost_at_most() -> None:
    found = recommended(explored(96.0, 94.5, 94.4, 80.0))
    assert found.speedup == 2.5
    assert "lose at most 1 of the original's 95.0 %" in found.reason


def test_where_all_lose_more_the_one_that_loses_least_for_its_speed() -> None:
    found = recommended(explored(85.0, 84.0, 60.0))
    assert found.speedup == 2.0
    assert "loses least for its speed" in found.reason


def test_of_a_metric_that_is_no_share_a_hundredth_may_be_lost() -> None:
    assert recommended(explored(1.0, 1.009, 1.2, metric=LOSS, original=1.0)).speedup == 2.0


def test_of_an_error_that_the_original_does_not_make_a_hundredth_may_come_up() -> None:
    found = explored(0.002, 0.009, 0.03, metric=LOSS, original=0.0)
    assert recommended(found).speedup == 2.0
    drawn = plot(replace(found, recommended=2.0))
    assert len({line[:8] for line in drawn.splitlines()[:-1]}) > 8, "figures tell rows apart"
    said = recommended(explored(0.2, 0.3, metric=LOSS, original=0.0)).reason
    assert said.startswith("the one that loses least for its speed, about 0.")
    assert said.endswith("all lose more than 0.01 of the original's 0")


def test_nothing_is_recommended_of_nothing() -> None:
    assert recommended(explored()).speedup is None
    assert recommended(explored()).reason == "no plan was finetuned"


def test_the_band_is_over_the_plans_costs() -> None:
    known = band_of(explored(96.0, 94.5))
    assert [cost for cost, _ in known.knots] == [0.1 * 1.5, 0.2]
    assert {point.share for point in known.points} == {0.0, 1.0}
