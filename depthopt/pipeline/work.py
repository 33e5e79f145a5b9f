"""The work of a run's stages: each writes its artefacts and returns one line about them."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.chain import Chain
from depthopt.core.counted import counted
from depthopt.core.inputs import at_least
from depthopt.core.repeats import ends_of_blocks
from depthopt.core.shipped import table_file
from depthopt.core.training import Standing, TrainResult
from depthopt.data.dataset import Preprocessing
from depthopt.data.described import described
from depthopt.errors import CheckFailed
from depthopt.export.noted import note
from depthopt.export.onnx import export_onnx
from depthopt.export.saved import load_saved, save
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.importance.estimate import estimate, scored
from depthopt.importance.similarity import LEAST_IMAGES, similarities
from depthopt.importance.workers import Workers, automatic
from depthopt.kinds.chained import joins
from depthopt.kinds.latency_keys import latency_keys
from depthopt.kinds.registry import KINDS
from depthopt.latency.footprint import with_footprints
from depthopt.latency.profile import profile
from depthopt.latency.worthwhile import worthwhile
from depthopt.models.outputs import require_outputs
from depthopt.models.weights import save_weights
from depthopt.pipeline.carried_out import carried_out
from depthopt.pipeline.context import BATCH, CandidateList, Context
from depthopt.pipeline.kept import read_kept
from depthopt.pipeline.listed import is_by_similarity, listed
from depthopt.pipeline.measure import fused_difference, measure
from depthopt.pipeline.original import start
from depthopt.pipeline.picking import picked
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.sanity import is_worse, judged, undone, warn
from depthopt.pipeline.short_training import remark, short_training
from depthopt.pipeline.solving import solved
from depthopt.rewrite.inserted import come_into_their_own
from depthopt.rewrite.side_by_side import HELD_OUT_EVERY
from depthopt.shallow.fuse import fuse
from depthopt.shallow.segment_ends import segment_ends
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import BALLAST_MIB, LatencyTable
from depthopt.tables.similarity import SIMILARITIES, Similarities
from depthopt.tables.store import table_path
from depthopt.tasks.evaluate import evaluate
from depthopt.train.finetune import finetune

logger = logging.getLogger(__name__)

TEACHER_CHECKPOINT = "teacher.checkpoint.safetensors"
ESTIMATE_CHECKPOINT = "importance.partial.json"
FINETUNE_CHECKPOINT = "finetune.checkpoint.safetensors"

FUSED_TOLERANCE = 1e-4
"""Largest relative difference of outputs between the fused and the trained network."""


def run_teacher(run: Context) -> str:
    """Load or train the original network."""
    section, begun = run.recipe.model, start(run)
    model = begun.model
    # Refuses, before any training, the networks that later stages would refuse.
    extract(model, section.input_size, name=run.recipe.network_name)
    if (width := run.task.width(run.data)) is not None:
        require_outputs(
            model, section.input_size, width, run.recipe.network_name, maps=run.task.maps
        )
    if begun.trained:
        finetune(
            model,
            run.data,
            task=run.task,
            config=run.train_config(run.recipe.teacher),
            checkpoint=run.path(TEACHER_CHECKPOINT),
            made_from=run.folder.made_from("teacher"),
            log_dir=run.path("logs/teacher"),
            progress=run.reporter.progress,
        )
    if not run.processes.is_main:
        return ""
    save_weights(model, run.path("teacher.safetensors"))
    run.path(TEACHER_CHECKPOINT).unlink(missing_ok=True)
    said = f"{begun.said}; " if begun.said else ""
    if run.task.imitates:
        _, answers = next(run.examples.calibration.batches(2))
        assert answers is not None  # noqa: S101 - narrows Tensor | None: these are the original's
        run.task.check_targets(answers, answers)
        return f"{said}loaded, to be imitated; {described(run.data)}"
    found = evaluate(model, run.data.calibration.batches(BATCH), task=run.task)
    figures = {} if begun.trained else begun.figures
    known = judged(run.task, found, run.data.calibration, figures)
    warn(known.warning(run.task.metric, "held-out images"))
    return (
        f"{said}{'trained' if begun.trained else 'loaded'}, {known.text(run.task.metric)} on "
        f"held-out images; {described(run.data)}"
    )


def wants_similarities(recipe: Recipe) -> bool:
    """Whether a kind of candidates wants to know how similar blocks are."""
    return any(KINDS.get(name).takes_similarities for name in recipe.candidates.kinds)


def run_extract(run: Context) -> str:
    """Extract the chain and list its candidates."""
    chain = extract(run.teacher, run.recipe.model.input_size, name=run.recipe.network_name)
    similar = _similarities(run, chain)
    if similar is not None:
        save_json(similar, run.path(SIMILARITIES))
    found = listed(run.recipe, run.teacher, chain, similar)
    save_json(chain, run.path("chain.json"))
    save_json(CandidateList(found), run.path("candidates.json"))
    return (
        f"{len(chain.blocks)} blocks, {len(chain.skips)} skips, {len(chain.barriers)} barriers, "
        f"{len(found)} candidates"
    )


def _similarities(run: Context, chain: Chain) -> Similarities | None:
    """How similar blocks are, where a kind wants to know, and enough images tell or it must be."""
    enough = is_by_similarity(run.recipe) or len(run.examples.calibration) >= LEAST_IMAGES
    if not (wants_similarities(run.recipe) and ends_of_blocks(chain) and enough):
        return None
    return similarities(run.teacher, chain, (inputs for inputs, _ in run.held_out()))


def starting_table(run: Context) -> LatencyTable:
    """What is known of the latencies before any is measured."""
    table, path = _given_table(run), run.path("latency.json")
    earlier = read_kept(LatencyTable, path, run.folder.begun("profile"))
    if earlier is not None and table.conditions.unlike(earlier.conditions) is None:
        table = table.combined(earlier)
    return table


def _given_table(run: Context) -> LatencyTable:
    section = run.recipe.latency
    ballast_mib = BALLAST_MIB if run.recipe.footprint_plans else None
    conditions = run.runtime.conditions(section.batch).with_ballast(ballast_mib)
    if section.table is not None:
        named = table_file(section.table)
        folder = named.is_dir()
        path = table_path(named, conditions) if folder else named
        if path.exists() or not folder:
            given = load_json(LatencyTable, path)
            conditions = conditions.with_ballast(given.conditions.ballast_mib)
            return LatencyTable(conditions).combined(given)
    return LatencyTable(conditions)


def run_profile(run: Context) -> str:
    """Measure what the latency table lacks, and the original network."""
    section, path = run.recipe.latency, run.path("latency.json")
    known, given = starting_table(run), _given_table(run)
    original, made_from = run.path("original.onnx"), run.folder.made_from("profile")
    _export(run, run.teacher, "original.onnx", batch=section.batch)
    measured = partial(
        profile,
        run.chain,
        runtime=run.runtime,
        network=original,
        batch=section.batch,
        progress=run.reporter.progress,
        on_update=lambda so_far: save_json(so_far, path, made_from=made_from),
    )
    table = measured(run.candidates, table=known)
    if given.missing(key for c in run.candidates for key in latency_keys(run.chain, c)):
        # A table that holds all that was asked for is taken as it is.
        free = run.recipe.keeping_is_free
        useful = worthwhile(run.chain, run.candidates, table, keeping_is_free=free)
        table = measured((both for *_, both in joins(run.chain, useful)), table=table)
    plans = run.recipe.footprint_plans
    if plans and not table.has_footprints(run.chain):
        table = with_footprints(
            run.teacher,
            run.chain,
            run.candidates,
            table,
            runtime=run.runtime,
            plans=plans,
            seed=run.recipe.seed,
            progress=run.reporter.progress,
        )
    save_json(table, path, made_from=made_from)
    total, entries = table.network(run.chain).total, len(table.entries) - len(known.entries)
    return f"{counted(entries, 'entry', 'entries')} measured; original {total.median_ms:.3f} ms"


def _export(
    run: Context,
    network: nn.Module,
    name: str,
    *,
    batch: int | None,
    metadata: Mapping[str, str] | None = None,
) -> float:
    images, _ = next(run.data.calibration.batches(max(batch or 0, 16)))
    images = at_least(images, max(batch or 0, 2))
    difference = export_onnx(
        network, run.path(name), images=images, batch=batch, task=run.task, metadata=metadata
    )
    note(run.path(name))
    return difference


def run_estimate(run: Context) -> str:
    """Estimate the importance of every candidate that may be in a plan."""
    section, checkpoint = run.recipe.importance, run.path(ESTIMATE_CHECKPOINT)
    if section.estimator == "finetune":
        run.processes.require_one("estimate", "importance.estimator finetune")
    config, short = run.train_config(section.train), short_training(run)
    warn(remark(run))
    # Of each candidate a network is made and regressed, as ``apply`` does.
    regressed = HELD_OUT_EVERY if section.estimator == "finetune" else 1
    if (unseen := run.task.unseen(run.data)) is not None:
        logger.warning("%s", unseen)
    made_from = run.folder.made_from("estimate")
    known = read_kept(ImportanceTable, checkpoint, (made_from,))
    table = estimate(
        run.teacher,
        run.chain,
        run.worthwhile,
        estimator=section.estimator,
        fitting=run.train_inputs(section.images, least=regressed, split=short.fitted),
        held_out=run.held_out(short.scored),
        task=run.judge,
        ridges=section.ridges,
        train=partial(  # goes to other processes, and so holds no run
            finetune,
            data=short.data,
            task=run.judge,
            teacher=run.teacher if config.distillation or run.task.imitates else None,
            config=config,
        ),
        form=run.recipe.apply.form,
        start=run.recipe.apply.start,
        compensated=run.recipe.apply.compensate,
        keep=section.kept,
        protocol=short.protocol,
        seed=run.recipe.seed,
        workers=_workers(run, known),
        latency_ms=run.latency_ms,
        table=known,
        on_update=lambda so_far: save_json(so_far, checkpoint, made_from=made_from),
        progress=run.reporter.progress,
    )
    save_json(table, run.path("importance.json"))
    checkpoint.unlink(missing_ok=True)
    said = f": {table.protocol}" if table.protocol else ""
    of = f"{len(table.entries)} of {len(run.candidates)} candidates"
    beaten = f", {len(table.beaten)} are beaten by others" if table.beaten else ""
    return f"{of} {'' if section.kept else 'are faster and '}were scored{beaten}{said}"


def _workers(run: Context, known: ImportanceTable | None) -> Workers:
    """Where candidates are worked at: short trainings on all cores, unless there is a GPU.

    What was given in memory stays in this process: it may not go to another.
    """
    section, count = run.recipe.importance, run.recipe.importance.workers
    is_sent = run.model is None and run.given is None and not torch.cuda.is_available()
    if section.estimator == "finetune" and count is None and is_sent:
        wanted = scored(run.worthwhile, keep=section.kept)
        count = automatic(len(wanted) - (0 if known is None else len(known.entries)))
    return Workers(count, section.address)


def run_solve(run: Context) -> str:
    """Solve for the frontier and pick the plan that the budget asks for."""
    frontier = solved(run)
    plan, measured = picked(run, frontier)
    save_json(frontier, run.path("frontier.json"))
    save_json(plan, run.path("plan.json"))
    replaced = plan.replaced
    blocks = sum(c.end - c.start for c in replaced)
    return (
        f"{len(frontier.points)} plans on the frontier; picked {plan.latency_ms:.3f} ms "
        f"({plan.speedup:.2f}x predicted{measured}): "
        f"{len(replaced)} replacements of {blocks} blocks"
    )


def _save(run: Context, network: TracedNetwork, folder: str) -> None:
    look = run.data.preprocessing
    told: dict[str, Any] = {}
    if isinstance(look, Preprocessing):
        told = asdict(look)
        del told["input_size"]
    save(
        network,
        run.path(folder),
        run.plan,
        arguments=run.arguments,
        task=run.task.name,
        class_names=run.data.class_names,
        model=run.original,
        **told,
    )


def _held_out_metric(run: Context, network: nn.Module) -> str:
    """How a network does on held-out images, in words."""
    found = evaluate(network, run.held_out(), task=run.judge)
    return f"{run.task.metric.text(found.metric, 1)} on held-out images"


def run_apply(run: Context) -> str:
    """Carry the plan out: the shallow network, not yet trained."""
    network = carried_out(run, run.plan)
    _save(run, network, "applied")
    return f"{_held_out_metric(run, network)} with no training"


def run_finetune(run: Context) -> str:
    """Finetune the shallow network, with the original as its teacher.

    Where that makes it worse on held-out images, the network before it is kept.
    """
    network = run.network("applied")
    result = finetune(
        network,
        run.examples,
        task=run.judge,
        teacher=run.teacher,
        matched=segment_ends(run.chain, run.plan),
        config=run.train_config(run.recipe.finetune),
        checkpoint=run.path(FINETUNE_CHECKPOINT),
        made_from=run.folder.made_from("finetune"),
        log_dir=run.path("logs/finetune"),
        progress=run.reporter.progress,
    )
    if not run.processes.is_main:
        return ""
    network, result = _better(run, network, result)
    _save(run, network, "finetuned")
    save_json(result, run.path("finetuned/history.json"))
    run.path(FINETUNE_CHECKPOINT).unlink(missing_ok=True)
    warn(undone(result))
    kept = "; worse than before, which is kept" if result.undone else ""
    after, before = (_figure(run, found) for found in (result.after, result.before))
    return f"{after} on held-out images, {before} before it{kept}"


def _better(
    run: Context, trained: TracedNetwork, result: TrainResult
) -> tuple[TracedNetwork, TrainResult]:
    """The network to go on with, and how both do: the trained one, or if that is worse the other.

    What was not trained has its inserted activations in place too, as the fused network will.
    """
    untrained = run.network("applied")
    come_into_their_own(untrained, 1.0)
    before, after = (
        evaluate(network, run.held_out(), task=run.judge) for network in (untrained, trained)
    )
    known = (Standing(before.metric, before.loss), Standing(after.metric, after.loss))
    worse = is_worse(run.task.metric, *known, before.images)
    result = replace(result, before=known[0], after=known[1], undone=worse)
    return (untrained if worse else trained), result


def _figure(run: Context, found: Standing | None) -> str:
    return "unknown" if found is None else run.task.metric.text(found.metric, 1)


def run_fuse(run: Context) -> str:
    """Fuse the finetuned network.

    Raises:
        CheckFailed: the fused network's outputs are not the trained one's.
    """
    trained = run.network("finetuned")
    fused = fuse(trained)
    difference = fused_difference(run, trained, fused)
    if not difference <= FUSED_TOLERANCE:
        raise CheckFailed(
            f"the fused model's outputs differ from the trained model's by {difference:.1e} "
            f"relative, more than {FUSED_TOLERANCE:.0e}; nothing was written"
        )
    _save(run, fused, "fused")
    return f"fused outputs within {difference:.1e} of the trained network's"


def run_export(run: Context) -> str:
    """Export the fused network, for the recipe's batch and for any."""
    network, metadata = run.network("fused"), load_saved(run.path("fused")).metadata()
    difference = max(
        _export(run, network, name, batch=batch, metadata=metadata)
        for name, batch in (("fused.onnx", run.recipe.latency.batch), ("fused/model.onnx", None))
    )
    return f"ONNX outputs within {difference:.1e} of the fused network's"


def run_result(run: Context) -> str:
    """Time and evaluate the original and the fused network."""
    result = measure(run)
    save_json(result, run.path("result.json"))
    found = result.metric.text(result.compressed.metric)
    return f"{result.speedup:.2f}x measured, {found} on test images"
