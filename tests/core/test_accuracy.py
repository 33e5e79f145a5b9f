"""The band of a metric over cost: what it holds, how it runs, and where it ends."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.accuracy import Accuracy, Point, Range, accuracy, error_of
from depthopt.core.explored import Found
from depthopt.core.metric import Metric

ACCURACY = Metric("accuracy", "%", scale=100)
WRONG = Metric("error", "%", scale=100, higher_is_better=False)
LOSS = Metric("loss", higher_is_better=False)
METRICS = (ACCURACY, WRONG, LOSS)
IMAGES = 400


def found(metric: Metric, value: float, images: int = IMAGES) -> Found:
    error = error_of(metric, value, images)
    return Found(value, 0.3 if error is None else error, images)


def point(metric: Metric, cost: float, value: float, share: float) -> Point:
    return Point(cost, 1.0, found(metric, value), share)


@st.composite
def knowns(draw: st.DrawFn) -> Accuracy:
    """Bands of plans of any cost and metric, each finetuned for one length or two."""
    metric = draw(st.sampled_from(METRICS))
    costs = draw(st.lists(st.floats(-0.1, 10), min_size=1, max_size=8, unique=True))
    values = st.floats(0, 100)
    points = []
    for cost in costs:
        shares = draw(st.lists(st.sampled_from((0.0, 1 / 16, 1 / 4, 1.0)), max_size=3, unique=True))
        points += [point(metric, cost, draw(values), share) for share in shares]
    original = found(metric, draw(values))
    return accuracy(metric, original, points, test_images=draw(st.integers(50, 5000)))


@given(knowns(), st.floats(0, 10), st.floats(0, 10))
def test_it_never_gets_better_with_the_cost(known: Accuracy, one: float, other: float) -> None:
    cheap, dear = (known.at(cost) for cost in sorted((one, other)))
    if dear is None:
        return
    assert cheap is not None
    slack = 1e-9
    assert known.metric.gain(cheap.worst, dear.worst) <= slack
    assert known.metric.gain(cheap.best, dear.best) <= slack


@given(knowns(), st.floats(-1, 10))
def test_its_ends_are_ends_and_a_share_is_one(known: Accuracy, cost: float) -> None:
    expected = known.at(cost)
    if expected is None:
        return
    assert known.metric.gain(expected.worst, expected.best) >= 0
    assert expected.holds(expected.middle)
    if known.metric.unit == "%":
        assert min(expected.worst, expected.best) >= 0
        assert max(expected.worst, expected.best) <= 100


@given(knowns())
def test_it_holds_what_was_measured_and_ends_with_the_dearest_plan(known: Accuracy) -> None:
    trained = [each for each in known.points if each.share > 0]
    if not trained:
        assert known.at(0.0) is None
        return
    for each in trained:
        if each.share == 1:
            expected = known.at(each.cost)
            assert expected is not None
            assert expected.holds(each.found.metric)
    dearest = max(each.cost for each in trained)
    assert known.at(dearest) is not None
    assert known.at(math.nextafter(dearest, math.inf)) is None


def test_nothing_is_known_without_a_finetune() -> None:
    known = accuracy(ACCURACY, found(ACCURACY, 98), [point(ACCURACY, 0.1, 90, 0)], test_images=100)
    assert known.knots == ()
    assert known.at(0.05) is None
    assert known.points[0].found.metric == 90


def width(**changed: object) -> float:
    """Of the range of a plan of cost 0.1, one change away from the usual."""
    given = {"images": 1000, "test_images": 1000, "share": 0.25, "dear": 80.0} | changed
    images = given["images"]
    points = [
        Point(0.01, 1.0, found(ACCURACY, 95, images), 1.0),
        Point(0.1, 1.0, found(ACCURACY, given["dear"], images), given["share"]),
        Point(1.0, 1.0, found(ACCURACY, 60, images), 1.0),
    ]
    known = accuracy(ACCURACY, found(ACCURACY, 96), points, test_images=given["test_images"])
    expected = known.at(0.1)
    assert expected is not None
    return expected.width


def test_it_is_wider_for_each_of_its_reasons() -> None:
    usual = width()
    assert width(images=100) > usual, "few images were judged by"
    assert width(test_images=100) > usual, "few will be"
    assert width(share=1 / 16) > usual, "less of the finetune is known"
    assert width(share=1.0) < usual
    assert width(share=1.0, dear=70.0) > width(share=1.0, dear=94.0), "plans of like cost differ"


def test_what_a_longer_finetune_gave_back_is_expected_of_others_too() -> None:
    def expected(long: float) -> Range:
        points = [
            point(ACCURACY, 0.1, 60, 1 / 4),
            point(ACCURACY, 0.1, long, 1.0),
            point(ACCURACY, 0.3, 50, 1 / 4),
        ]
        found_there = accuracy(ACCURACY, found(ACCURACY, 55), points, test_images=IMAGES).at(0.3)
        assert found_there is not None
        return found_there

    steep, flat = expected(90.0), expected(62.0)
    assert steep.middle > flat.middle + 5
    assert flat.middle >= 50
    assert steep.best > 55, "a network may end above an original that was not trained to its end"


def test_a_short_finetune_that_did_harm_says_less_than_the_network_before_it() -> None:
    def expected(before: float) -> Range:
        points = [point(ACCURACY, 0.1, before, 0.0), point(ACCURACY, 0.1, 80, 1 / 8)]
        there = accuracy(ACCURACY, found(ACCURACY, 96), points, test_images=IMAGES).at(0.1)
        assert there is not None
        return there

    assert expected(95).worst > expected(30).worst + 5
    assert expected(30) == expected(10), "a network that is bad before any training says nothing"


def test_a_plan_that_costs_next_to_nothing_is_expected_near_the_original() -> None:
    points = [point(ACCURACY, 1.0, 80, 1.0)]
    known = accuracy(ACCURACY, found(ACCURACY, 95), points, test_images=IMAGES)
    cheap, dear = known.at(0.0), known.at(1.0)
    assert cheap is not None
    assert dear is not None
    assert cheap.best >= 95
    assert cheap.worst == dear.worst
    assert dear.holds(80)
    assert not dear.holds(95)


def drawn(draw: random.Random, lack: float, images: int) -> Found:
    """What a network that lacks so much of a perfect accuracy shows on images drawn at random."""
    wrong = sum(draw.random() < lack for _ in range(images))
    return found(ACCURACY, 100 * (1 - wrong / images), images)


def held(seed: int) -> tuple[int, int]:
    """How many of 12 plans of a made-up network the band holds that was made from 6 others.

    What plans lack rises with the cost in a way that differs from network to network; what
    finetuning gives back does, too. Plans of one cost differ.
    """
    draw = random.Random(seed)
    fall, power = draw.uniform(0.1, 0.4), draw.uniform(0.4, 1.2)

    def lack(cost: float) -> float:
        return 0.015 + 0.06 * cost**power * math.exp(draw.gauss(0, 0.2))

    points = []
    for i, cost in enumerate((0.01, 0.03, 0.1, 0.2, 0.5, 1.0)):
        final = lack(cost)
        shortly = final * math.exp(3 * fall * math.exp(draw.gauss(0, 0.25)))
        points.append(Point(cost, 1.0, drawn(draw, shortly, 256), 1 / 8))
        if i in {1, 2}:
            points.append(Point(cost, 1.0, drawn(draw, final, 256), 1.0))
    known = accuracy(ACCURACY, drawn(draw, 0.02, 256), points, test_images=449)
    inside = 0
    for _ in range(12):
        cost = 10 ** draw.uniform(-2, 0)
        expected = known.at(cost)
        assert expected is not None
        inside += expected.holds(drawn(draw, lack(cost), 449).metric)
    return inside, 12


def test_nine_of_ten_other_plans_lie_inside() -> None:
    inside, of = (sum(column) for column in zip(*map(held, range(60)), strict=True))
    assert 0.87 < inside / of < 0.99


@given(st.floats(0, 100), st.integers(1, 10_000))
def test_a_shares_error_is_never_nothing_and_falls_with_the_images(
    value: float, images: int
) -> None:
    one, more = error_of(ACCURACY, value, images), error_of(ACCURACY, value, 4 * images)
    assert one is not None
    assert more is not None
    assert 0 < more < one < 100
    assert error_of(LOSS, value, images) is None


def test_a_range_says_its_lower_end_first() -> None:
    assert Range(96.06, 98.44).text(ACCURACY) == "96.1 to 98.4 %"
    assert Range(3.94, 1.56).text(WRONG) == "1.6 to 3.9 %"
    assert Range(0.1234, 0.1).text(LOSS) == "0.1 to 0.1234"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_it_is_the_same_for_a_metric_turned_upside_down(metric: Metric) -> None:
    points = [point(metric, 0.1, 30, 0.25), point(metric, 0.2, 20, 1.0)]
    known = accuracy(metric, found(metric, 40), points, test_images=IMAGES)
    expected = known.at(0.15)
    assert expected is not None
    assert metric.gain(expected.worst, expected.best) > 0
