"""A run's knowledge of accuracy: measured for some plans, expected for others."""

from depthopt.core.band import Band, Point, Range, error_of, fitted, points_of
from depthopt.core.explored import Found
from depthopt.core.metric import Metric
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.core.trials import Trials
from depthopt.report.objective import objective_text, original_cost
from depthopt.report.reading import RunArtefacts

NOT_MEASURED = "not measured"
"""Text for plans that cost more than any that was carried out."""

_HELD_OUT = ("data", "calibration_images")


def run_accuracy(run: RunArtefacts) -> Band | None:
    """The band from exploring, trials and the run's result. None if nothing was carried out.

    Of a metric that is not a share, only what was explored counts: how sure the others are is not
    known.
    """
    explored, result, trials = run.explored, run.result, run.trials
    metric: Metric | None = None
    original: Found | None = None
    points: list[Point] = []
    steps = None if run.training is None else run.training.steps
    if explored is not None and explored.objective != objective_text(run):
        explored = None  # its costs are on another scale
    if explored is not None:
        metric, original, steps = explored.metric, explored.original, explored.steps
        points += points_of(explored)
    if result is not None and run.plan is not None:
        metric = metric or result.metric
        original = original or _found(metric, result.original.metric, result.test_images)
        for value, share in ((result.untrained_metric, 0.0), (result.compressed.metric, 1.0)):
            found = _found(metric, value, result.test_images)
            if found is not None and result.metric == metric:
                points.append(Point(run.plan.cost, result.speedup, found, share))
    if trials is not None and metric == trials.metric and steps is not None:
        points += _tried(run, trials, steps)
    if metric is None or original is None or not points:
        return None
    images = explored.test_images if explored is not None else original.images
    return fitted(metric, original, points, test_images=images, original_cost=original_cost(run))


def point_range(known: Band, frontier: Frontier, point: FrontierPoint) -> Range | None:
    """The metric to expect of a plan. For the original, what was measured."""
    if not any(frontier.candidates[i].replaces for i in point.choices):
        return Range(known.original.metric, known.original.metric)
    return known.at(point.cost)


def point_measured(known: Band, frontier: Frontier, point: FrontierPoint) -> Point | None:
    """A plan's measured metric after its longest finetune, if it was carried out."""
    if not any(frontier.candidates[i].replaces for i in point.choices):
        return None
    own = [each for each in known.points if each.cost == point.cost]
    return max(own, key=lambda each: (each.share, each.found.images), default=None)


def point_text(known: Band, frontier: Frontier, point: FrontierPoint) -> str:
    """The metric to expect, or measured, in words."""
    found = point_range(known, frontier, point)
    if found is None:
        return NOT_MEASURED
    return found.text(known.metric) if found.width else known.metric.text(found.best, 1)


def _found(metric: Metric, value: float, images: int | None) -> Found | None:
    """A metric with its error; None of one that is not a share, or of no images."""
    error = error_of(metric, value, images) if images else None
    return None if error is None or not images else Found(value, error, images)


def _tried(run: RunArtefacts, trials: Trials, whole: int) -> list[Point]:
    """The trials' plans, each finetuned for a part of so many steps."""
    steps, said = _recipe(run, "trials", "steps") or 0, _recipe(run, *_HELD_OUT)
    points = []
    for trial in trials.trials:
        images = len(trial.losses) or said
        found = None if trial.metric is None else _found(trials.metric, trial.metric, images)
        if found is not None:
            share = min(1.0, steps / whole)
            points.append(Point(trial.plan.cost, trial.speedup, found, share))
    return points


def _recipe(run: RunArtefacts, section: str, key: str) -> int | None:
    """A whole number above 0 of the run's recipe, if it says it."""
    found = run.setting(section, key)
    return found if isinstance(found, int) and found > 0 else None
