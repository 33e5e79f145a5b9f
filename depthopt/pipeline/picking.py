"""Picking the plan that a recipe's budget asks for, as its ``pick`` says."""

from dataclasses import replace

from depthopt.core.artefacts import save_json
from depthopt.core.plan import Frontier, Plan
from depthopt.core.trials import Trials
from depthopt.latency.pick import EFFORT, asked_speedup, pick_measured
from depthopt.latency.timing import plan_timer
from depthopt.pipeline.carried_out import carried_out, regressed_on
from depthopt.pipeline.context import Context
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.solving import solved_alone
from depthopt.pipeline.trials import contenders, trials_text, tried
from depthopt.shallow.segment_ends import segment_ends
from depthopt.tasks.evaluate import Evaluation, evaluate
from depthopt.train.finetune import finetune

TRIALS = "trials.json"


def picked(run: Context, frontier: Frontier) -> tuple[Plan, str]:
    """The plan that the budget asks for, and in words how fast it was measured, if it was."""
    budget, way = run.recipe.budget, run.recipe.picked
    if way == "predicted":
        return frontier.pick(budget_ms=budget.ms, speedup=budget.speedup, cost=budget.cost), ""
    if way == "tried":
        trials = _tried(run, frontier)
        return trials.best.plan, f", {trials_text(trials)}"
    found = pick_measured(
        run.teacher,
        run.chain,
        frontier,
        runtime=run.runtime,
        speedup=budget.speedup,
        budget_ms=budget.ms,
        batch=run.recipe.latency.batch,
        progress=run.reporter.progress,
    )
    return found.plan, f", {found.speedup:.2f}x measured, {found.timed} plans timed"


def _tried(run: Context, frontier: Frontier) -> Trials:
    """Plans as fast as asked, each carried out, and finetuned for the recipe's trial steps."""
    path, budget, steps = run.path(TRIALS), run.recipe.budget, run.recipe.trials.steps
    if steps:
        run.processes.require_one("solve", "trials.steps")
    made_from = run.folder.made_from("solve")
    trials = read_kept(Trials, path, (made_from,))
    if trials is None:
        with plan_timer(
            run.teacher,
            run.chain,
            runtime=run.runtime,
            batch=run.recipe.latency.batch,
            effort=EFFORT,
        ) as timer:
            trials = contenders(
                frontier,
                asked_speedup(frontier, speedup=budget.speedup, budget_ms=budget.ms),
                timer,
                run.task.metric,
                alone=solved_alone(run),
                progress=run.reporter.progress,
            )
        save_json(trials, path, made_from=made_from)
    config = replace(
        run.train_config(run.recipe.finetune),
        steps=steps or None,
        evaluate_epochs=False,
        target_metric=None,
        trackers=(),
    )
    batches = regressed_on(run)

    def attempt(plan: Plan) -> Evaluation:
        network = carried_out(run, plan, batches)
        if steps:
            finetune(
                network,
                run.examples,
                task=run.judge,
                teacher=run.teacher,
                matched=segment_ends(run.chain, plan),
                config=config,
                progress=run.reporter.progress,
            )
        return evaluate(network, run.held_out(), task=run.judge, each=True)

    def keep(known: Trials) -> None:
        save_json(known, path, made_from=made_from)

    return tried(trials, attempt, on_update=keep)
