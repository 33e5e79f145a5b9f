"""Plans tried out before one is picked: which, how they go, and which is best."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthopt.core.candidate import kept_blocks
from depthopt.core.trials import Trial, Trials
from depthopt.errors import DepthoptError, InfeasibleBudget, ModelError
from depthopt.extraction.extract import extract
from depthopt.frontier.solve import solve
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.pipeline.trials import FASTER, contenders, most_tried, trials_text, tried, tried_alone
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from depthopt.tasks.classification import TASK
from depthopt.tasks.evaluate import Evaluation
from depthopt.train.finetune import TrainingDiverged
from tests.networks import Residual

CHAIN = extract(Residual(), (2, 8, 8), name="Residual")
FOUND = candidates(CHAIN, kinds=("drop", "fit"), kernel_sizes=(1, 3))
KEPT = kept_blocks(CHAIN)
CONDITIONS = MeasurementConditions("cpu", "onnxruntime", "1", 1, "float32", 1)


def tables(seed):
    """A table of latencies and one of costs, both drawn at random."""
    draw = random.Random(seed)
    keys = sorted({key for c in FOUND for key in latency_keys(CHAIN, c)}, key=str)
    entries = {key: summary(draw.uniform(0.1, 2.0)) for key in keys}
    table = LatencyTable(CONDITIONS, entries)
    total = 0.5 + sum(candidate_ms(CHAIN, block, table) for block in KEPT)
    network = NetworkLatency(summary(total), 0.5)
    table = replace(table, networks={NetworkKey.of(CHAIN): network})
    costs = {c: Importance(draw.uniform(0.1, 2.0)) for c in FOUND if c.kind != "keep"}
    return table, ImportanceTable("Residual", "regression", entries=costs)


def summary(ms):
    return LatencySummary(ms, 0.9 * ms, 1.1 * ms, 5)


def contend(latency, importance, asked, timer, alone=()):
    frontier = solve(CHAIN, FOUND, latency, importance)
    return contenders(frontier, asked, timer, TASK.metric, alone=alone)


@settings(deadline=None)  # the first call compiles the solver
@given(st.integers(0, 10**6), st.floats(1.0, 4.0), st.floats(-0.2, 0.8))
def test_contenders_are_distinct_as_fast_as_asked_and_predicted_by_the_table(seed, asked, lag):
    latency, importance = tables(seed)
    timed = []

    def timer(plan):
        """Speed-ups that depend on the replacements alone, whatever the table says of them."""
        timed.append(plan.replaced)
        return true(plan) ** (1 + lag)

    def true(plan):
        own = sum(candidate_ms(CHAIN, choice, latency) for choice in plan.choices)
        return latency.network(CHAIN).total.median_ms / (0.5 + own)

    frontier = solve(CHAIN, FOUND, latency, importance)
    if frontier.plan(0).speedup ** (1 + lag) < asked:
        with pytest.raises(InfeasibleBudget):
            contend(latency, importance, asked, timer)
        return
    trials = contend(latency, importance, asked, timer).trials
    points = [frontier.plan(i) for i in range(len(frontier.points))]
    assert trials[0].plan.replaced in [plan.replaced for plan in points]
    assert len({trial.plan.replaced for trial in trials}) == len(trials) <= most_tried([])
    assert len(timed) == len(set(timed)), "no plan is timed twice"
    quicker = trials[0].speedup / trials[0].plan.speedup
    for factor in FASTER:
        aimed = [p for p in points if p.speedup >= factor * asked / quicker and p.replaced]
        if aimed and (plan := aimed[-1]).speedup ** (1 + lag) >= asked:
            assert plan.replaced in [trial.plan.replaced for trial in trials]
    for trial in trials:
        assert trial.speedup >= asked
        assert trial.plan.speedup == pytest.approx(true(trial.plan))
        cost = sum(importance.entries[choice].cost for choice in trial.plan.replaced)
        assert trial.plan.cost == pytest.approx(cost)
        assert not trial.is_done


def of_drops_alone(latency, importance):
    kinds = ("keep", "drop")
    return solve(CHAIN, [c for c in FOUND if c.kind in kinds], latency, importance)


def test_the_least_costly_plan_of_drops_alone_is_a_contender_too():
    latency, importance = tables(5)
    alone = of_drops_alone(latency, importance)
    asked = 0.999 * alone.plan(0).speedup  # the fastest
    least = alone.pick(speedup=asked).replaced
    (given, more) = (
        contend(latency, importance, asked, lambda plan: plan.speedup, alone=each).trials
        for each in ((), (alone,))
    )
    assert least not in [trial.plan.replaced for trial in given]
    assert more[: len(given)] == given
    assert [trial.plan.replaced for trial in more[len(given) :]] == [least]


def test_drops_alone_that_are_too_slow_are_no_contenders():
    latency, importance = tables(5)
    alone = of_drops_alone(latency, importance)
    asked = 1.01 * alone.plan(0).speedup
    given = contend(latency, importance, asked, lambda plan: plan.speedup)
    assert contend(latency, importance, asked, lambda plan: plan.speedup, alone=[alone]) == given


def test_kinds_that_are_tried_alone():
    assert tried_alone(("narrow", "drop", "fit", "merge")) == ("drop",)
    assert tried_alone(("fit", "merge")) == tried_alone(("drop",)) == ()
    assert most_tried(("drop", "fit")) == most_tried(("fit",)) + 1 == 6


def test_a_plan_that_cannot_be_timed_is_left_out_and_named(caplog):
    latency, importance = tables(3)
    first = contend(latency, importance, 1.2, lambda plan: plan.speedup).trials[0].plan

    def timer(plan):
        if plan.replaced != first.replaced:
            raise ModelError("the runtime has no such operator")
        return plan.speedup

    (only,) = contend(latency, importance, first.speedup, timer).trials
    assert only.plan.replaced == first.replaced
    assert "left out of the trials: the runtime has no such operator" in caplog.text


def trials_of(*losses):
    """Trials of as many plans; None for one that is to be tried."""
    latency, importance = tables(0)
    frontier = solve(CHAIN, FOUND, latency, importance)
    trials = tuple(
        Trial(frontier.plan(i), 2.0, loss, None if loss is None else 50.0)
        for i, loss in enumerate(losses)
    )
    return Trials(trials, TASK.metric)


def test_the_plan_of_least_loss_is_best_and_of_equal_ones_the_first():
    trials = trials_of(0.5, 0.25, 0.25, 0.75)
    assert trials.best is trials.trials[1]


def test_only_plans_that_were_not_tried_are_tried():
    trials, seen, updates = trials_of(0.5, None, 0.25, None), [], []

    def attempt(plan):
        seen.append(plan)
        return Evaluation(metric=90.0, loss=0.125 * len(seen), images=8)

    done = tried(trials, attempt, on_update=updates.append)
    assert seen == [trials.trials[1].plan, trials.trials[3].plan]
    assert [trial.loss for trial in done.trials] == [0.5, 0.125, 0.25, 0.25]
    assert [sum(t.is_done for t in known.trials) for known in updates] == [3, 4]
    assert done.best is done.trials[1]
    assert done.best.metric == 90.0


@pytest.mark.parametrize("error", [TrainingDiverged("it diverged"), ModelError("no such layer")])
def test_what_goes_wrong_fails_its_own_plan_alone(error):
    def attempt(plan):
        if plan == trials.trials[0].plan:
            raise error
        loss = math.nan if plan == trials.trials[1].plan else 7.0
        return Evaluation(metric=90.0, loss=loss, images=8)

    trials = trials_of(None, None, None)
    done = tried(trials, attempt)
    assert [trial.failure for trial in done.trials[:2]] == [str(error), "the held-out loss is nan"]
    assert all(trial.is_done for trial in done.trials)
    assert done.best is done.trials[2]


def test_nothing_is_best_where_all_failed():
    def attempt(_plan):
        raise TrainingDiverged("loss is NaN")

    done = tried(trials_of(None, None), attempt)
    with pytest.raises(DepthoptError, match="all trials failed; the first: loss is NaN"):
        _ = done.best


def test_an_only_plan_is_best_without_a_trial():
    trials = trials_of(None)
    assert tried(trials, lambda _plan: pytest.fail("was tried")) == trials
    assert trials.best is trials.trials[0]


def drawn(*means, images=400):
    """Trials of as many plans, whose losses differ from image to image, and by their means."""
    draw = np.random.default_rng(0)
    shared = draw.exponential(1.0, images)
    trials = trials_of(*means).trials
    each = [shared + mean + draw.normal(0.0, 0.1, images) for mean in means]
    done = zip(trials, each, strict=True)
    losses = (replace(t, loss=float(x.mean()), losses=tuple(x.tolist())) for t, x in done)
    return Trials(tuple(losses), TASK.metric)


def test_differences_are_paired_by_images():
    first, second, third = drawn(0.2, 0.0, 0.001).trials
    low, high = first.behind(second)
    assert low < 0.2 < high
    assert high - low < 0.05, "what is hard for both tells nothing"
    assert second.behind(first) == pytest.approx((-high, -low))
    assert third.behind(second)[0] < 0 < third.behind(second)[1]
    assert first.behind(replace(second, losses=())) is None


def test_what_the_images_do_not_tell_from_the_best_is_said_with_the_interval():
    trials = drawn(0.2, 0.0, 0.001)
    assert trials.undecided == tuple(t for t in trials.trials[1:] if t != trials.best)
    said = trials_text(trials)
    assert "2.00x measured, best of 3 plans tried; 400 held-out images do not tell it" in said
    assert "from 1 other (loss -0.0" in said
    assert trials_text(drawn(0.2, 0.0)) == "2.00x measured, best of 2 plans tried"
    assert trials_text(trials_of(0.5, 0.25)) == "2.00x measured, best of 2 plans tried"
