"""Write small artefacts of every kind at schema version 1.

``python -m tests.golden.write_version_1`` writes them again, but for the run, whose figures would
be others each time: that only where it is gone.

Later versions read them (``test_version_1.py``). They were written by this script on commit
cbb3113, whose package is as it was at version 0.1.0:

- ``artefacts``: a chain, candidates, tables, a frontier, a plan, trials, a validation, a baseline;
- ``trained`` and ``fused``: saved networks, as ``depthopt.save`` writes them;
- ``run``: a recipe, its latency table, and the folder of its finished run;
- ``expected.json``: what all of these hold, as plain data, and the saved networks' logits;
- ``summary.txt``: what ``depthopt report`` says of the run.
"""

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depthopt import save
from depthopt.check.baseline import Baseline
from depthopt.check.check import Network
from depthopt.cli.main import main
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Plan
from depthopt.core.trials import Trial, Trials
from depthopt.extraction.extract import extract
from depthopt.frontier.solve import solve
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.latency.worthwhile import worthwhile
from depthopt.models.timm import create_timm_model
from depthopt.pipeline.context import CandidateList
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from depthopt.tables.validation import PlanTiming, Validation
from tests.golden.cases import CONDITIONS, latencies
from tests.golden.compare import text
from tests.golden.plain import (
    plain_candidates,
    plain_chain,
    plain_frontier,
    plain_importances,
    plain_latencies,
    plain_plan,
)
from tests.networks import randomised

FOLDER = Path(__file__).parent / "version_1"

MODEL, SIZE = "repvgg_a0", (1, 32, 32)
ARGUMENTS = {"in_chans": 1, "num_classes": 10, "width_factor": 0.03}

RECIPE = """\
model: {name: gernet_s, input_size: [1, 32, 32], arguments: {width_factor: 0.05}}
data: {source: digits, calibration_images: 64}
teacher: {epochs: 8, batch_size: 32, learning_rate: 0.005, checkpoint_every_s: 0}
candidates: {kinds: [drop, fit, merge], kernel_sizes: [3], max_length: 4}
latency: {table: table.json}
budget: {speedup: 1.5, measured: false}
importance: {images: 128}
apply: {images: 320}
finetune: {epochs: 3, batch_size: 32, checkpoint_every_s: 0, evaluate_epochs: true}
"""


def images(count: int, seed: int) -> Tensor:
    """Seeded images (N, C, H, W)."""
    return torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(seed))


def write_artefacts(folder: Path) -> dict[str, Any]:
    """Write all but the run; gives what they hold."""
    torch.manual_seed(0)
    model = randomised(create_timm_model(MODEL, ARGUMENTS))
    chain = extract(model, SIZE, name=MODEL)
    found = candidates(
        chain, kinds=("drop", "fit", "merge"), kernel_sizes=(1,), max_length=3, inserted="relu"
    )
    table = latencies(chain, found)
    near = worthwhile(chain, found, table)
    labels = torch.arange(16) % 10
    fitting, held_out = [images(16, 1), images(16, 2)], images(16, 3)
    importances = {
        "magnitude": estimate(model, chain, near, estimator="magnitude"),
        "fit": estimate(model, chain, near, fitting=fitting, held_out=[(held_out, labels)]),
        "unlabelled": estimate(model, chain, near, fitting=fitting, held_out=[(held_out, None)]),
    }
    frontier = solve(chain, near, table, importances["fit"], keep=[chain.blocks[-1].name])
    plans = [frontier.plan(index) for index in range(len(frontier.points))]
    plan = next(plan for plan in plans if len({choice.kind for choice in plan.choices}) == 4)
    trials = Trials(
        (
            Trial(0.0, plan, 1.5, 0.25, 91.5),
            Trial(0.15, frontier.pick(speedup=2), 1.9, None, None, "the loss is not finite"),
            Trial(0.4, frontier.plan(0), 2.5),
        )
    )
    timing = PlanTiming(plan.latency_ms, plan.speedup, 1.4, plan.replaced)
    latency = table.network(chain).total
    artefacts = {
        "chain": chain,
        "candidates": CandidateList(found),
        "latency": table,
        **importances,
        "frontier": frontier,
        "plan": plan,
        "trials": trials,
        "validation": Validation(next(iter(table.networks)), CONDITIONS, 3, 0.9, (timing,)),
        "baseline": Baseline(
            Network(MODEL, "0" * 64),
            CONDITIONS,
            latency,
            {key: (entry.median_ms,) for key, entry in list(table.entries.items())[:3]},
            {"x": (None, *SIZE)},
        ),
    }
    for name, value in artefacts.items():
        save_json(value, folder / "artefacts" / f"{name}.json")
    keys = [candidate.key for candidate in found]
    expected = {
        "chain": plain_chain(chain),
        "candidates": plain_candidates(chain, found),
        "latency": plain_latencies(table),
        **{name: plain_importances(value) for name, value in importances.items()},
        "frontier": plain_frontier(frontier, keys),
        "plan": plain_plan(plan),
    }
    calibration = [images(8, seed) for seed in range(10, 15)]
    applied = apply(model, chain, plan, fitting=calibration, form="expanded", start="at_once")
    for name, network in (("trained", applied), ("fused", fuse(applied))):
        save(network, folder / name, plan, arguments=ARGUMENTS, class_names=tuple("abcdefghij"))
        with torch.no_grad():
            expected[name] = network(images(2, 20)).tolist()
    return expected


def write_run(folder: Path) -> None:
    """Carry out a small recipe in ``folder``."""
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE)
    with contextlib.chdir(folder):
        given = load_recipe(Path("small.yaml"))
        context = run(given, Path("out"), until="extract")
        table = latencies(context.chain, context.candidates)
        measured = context.runtime.conditions(1)
        save_json(type(table)(measured, table.entries, table.networks), Path("table.json"))
        run(given, Path("out"))


def summary(run_dir: str) -> str:
    """What ``depthopt report --summary`` prints."""
    output = io.StringIO()
    sys.argv = ["depthopt", "report", run_dir, "--summary"]
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main()
    return output.getvalue()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for folder in ("artefacts", "trained", "fused"):
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    if not (FOLDER / "run").exists():
        (FOLDER / "run").mkdir(parents=True)
        write_run(FOLDER / "run")
    expected = write_artefacts(FOLDER)
    expected["run"] = plain_plan(load_json(Plan, FOLDER / "run" / "out" / "plan.json"))
    (FOLDER / "expected.json").write_text(text(expected, 3))
    os.chdir(FOLDER / "run")
    (FOLDER / "summary.txt").write_text(summary("out"))
