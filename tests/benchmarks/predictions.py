"""How well a table predicts: random plans from 1.1 to 8 times the speed, predicted and timed.

    python tests/benchmarks/predictions.py --run-dir runs/predictions --json predictions.json

Each case is a network on a runtime. Its table is measured twice: as a sum of entries, and with
footprints. Then the same random plans, which neither has seen, are predicted by both and timed
once; ``--again`` times them once more, for instance an hour later, by the tables there are.
``--picks`` picks plans for 1.5, 2 and 3 times the speed by timing, and notes how many were timed
until the one that is picked; costs are by magnitude, which needs no images. ``--only NAME ...``
takes some of the cases. What is done is kept in the folder.

Run it on an idle machine, in the project's folder, where two cases' files lie.
"""

import argparse
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from depthopt.cli.options import network_of
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.errors import InfeasibleBudget
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.frontier.solve import solve
from depthopt.graph.examples import made_up
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import network_ms
from depthopt.latency.footprint import with_footprints
from depthopt.latency.pick import EFFORT as PICK_EFFORT
from depthopt.latency.pick import least_costly
from depthopt.latency.profile import profile
from depthopt.latency.timing import plan_timer
from depthopt.latency.validate import EFFORT, random_plan
from depthopt.latency.worthwhile import worthwhile
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import BALLAST_MIB, LatencyTable

PLANS = 16
LEAST, MOST = 1.1, 8.0
"""Measured speed-ups of the plans. Others are drawn again."""

PICKED = (1.5, 2.0, 3.0)
"""Speed-ups that plans are picked for."""


@dataclass(frozen=True, slots=True)
class Case:
    """A network on a runtime."""

    model: str
    size: int
    runtime: str = "onnxruntime"
    threads: int = 1
    batch: int = 1
    kernel_sizes: tuple[int, ...] = (1, 3)

    def __str__(self) -> str:
        more = [f"{self.threads} threads"] * (self.threads > 1)
        more += [f"batch {self.batch}"] * (self.batch > 1)
        return ", ".join([f"{self.model} at {self.size}x{self.size}, {self.runtime}", *more])


CASES = (
    Case("efficientnet_lite0", 96),
    Case("resnet18", 32),
    Case("mobilenetv2_100", 224),
    Case("resnet34", 224),
    Case("efficientnet_lite0", 96, "openvino"),
    Case("resnet18", 32, "openvino"),
    Case("efficientnet_lite0", 96, threads=2),
    Case("efficientnet_lite0", 96, batch=8),
    Case("resnet18", 32, "torch"),
    Case("recipes/networks.py:unet", 64),
    Case("tests/zoo/dense.py:yolo", 160),
    Case("deit_tiny_patch16_224", 224),
    Case("deit_small_patch16_224", 224),
    Case("deit_tiny_patch16_224", 224, "openvino"),
    Case("convnext_tiny", 224),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a case's tables are measured from."""

    model: torch.nn.Module
    chain: Chain
    candidates: tuple[Candidate, ...]
    runtime: Runtime


def problem_of(case: Case) -> Problem:
    size = (3, case.size, case.size)
    model = network_of(case.model, size, None)
    chain = extract(model, size, name=case.model)
    found = candidates(
        chain, kinds=("drop", "fit", "merge"), kernel_sizes=case.kernel_sizes, max_length=12
    )
    return Problem(model, chain, found, get_runtime(case.runtime, threads=case.threads))


def tables(case: Case, problem: Problem, folder: Path) -> tuple[dict[str, Path], dict[str, float]]:
    """The tables' files by name, and how long each took to measure."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.json" for name in ("sum", "footprints")}
    took_path, took = folder / "took.json", {}
    if took_path.exists():
        took = json.loads(took_path.read_text())
    network = folder / "original.onnx"
    images = made_up(problem.chain.input_size, max(2, case.batch))
    export_onnx(problem.model, network, images=images, batch=case.batch)
    for name, path in paths.items():
        if path.exists():
            continue
        start = time.monotonic()
        conditions = problem.runtime.conditions(case.batch)
        if name == "footprints":
            conditions = conditions.with_ballast(BALLAST_MIB)
        table = profile(
            problem.chain,
            problem.candidates,
            runtime=problem.runtime,
            network=network,
            table=LatencyTable(conditions),
            batch=case.batch,
        )
        if name == "footprints":
            table = with_footprints(
                problem.model, problem.chain, problem.candidates, table, runtime=problem.runtime
            )
        took[name] = time.monotonic() - start
        took_path.write_text(json.dumps(took))
        save_json(table, path)
    return paths, took


def timed(case: Case, problem: Problem, paths: dict[str, Path], seed: int) -> dict[str, Any]:
    """Random plans: predicted by each table, and measured."""
    chain = problem.chain
    known = {name: load_json(LatencyTable, path) for name, path in paths.items()}
    useful = worthwhile(chain, problem.candidates, known["footprints"])
    rows: list[dict[str, float]] = []
    index = 0
    with plan_timer(
        problem.model, chain, runtime=problem.runtime, batch=case.batch, effort=EFFORT
    ) as timer:
        while len(rows) < PLANS:
            plan = random_plan(chain, useful, seed=seed * 1_000_003 + index)
            index += 1
            if not plan.replaced or not LEAST < _predicted(chain, plan, known["footprints"]) < MOST:
                continue
            speedup = timer(plan)
            if LEAST <= speedup <= MOST:
                predicted = {name: _predicted(chain, plan, t) for name, t in known.items()}
                rows.append({"measured": speedup, **predicted})
                print(f"  {len(rows)}/{PLANS}: {rows[-1]}", flush=True)
    return {"at": datetime.now(UTC).isoformat(timespec="minutes"), "seed": seed, "plans": rows}


def _predicted(chain: Chain, plan: Plan, table: LatencyTable) -> float:
    return table.network(chain).total.median_ms / network_ms(chain, plan.choices, table)


def picks(problem: Problem, batch: int, paths: dict[str, Path]) -> list[dict[str, Any]]:
    """For each speed-up and table: which timing gave the plan that is picked, and of how many."""
    chain, rows = problem.chain, []
    known = {name: load_json(LatencyTable, path) for name, path in paths.items()}
    useful = worthwhile(chain, problem.candidates, known["footprints"])
    importance = estimate(
        problem.model, chain, useful, estimator="magnitude", fitting=(), held_out=()
    )
    with plan_timer(
        problem.model, chain, runtime=problem.runtime, batch=batch, effort=PICK_EFFORT
    ) as timer:
        for name, table in known.items():
            start = time.monotonic()
            own = worthwhile(chain, problem.candidates, table)
            scored = tuple(c for c in own if c in useful)
            frontier = solve(chain, scored, table, importance)
            solved_s = time.monotonic() - start
            for asked in PICKED:
                seen: list[Plan] = []

                def timed(plan: Plan, seen: list[Plan] = seen) -> float:
                    seen.append(plan)
                    return timer(plan)

                try:
                    pick = least_costly(frontier, asked, timed)
                except InfeasibleBudget:
                    continue
                place = 1 + [plan.replaced for plan in seen].index(pick.plan.replaced)
                row = {"table": name, "asked": asked, "place": place, "timed": pick.timed}
                row |= {"predicted": pick.plan.speedup, "measured": pick.speedup}
                rows.append(row | {"solved_s": solved_s, "plans": len(frontier.points)})
                print(f"  {rows[-1]}", flush=True)
    return rows


def errors(rows: list[dict[str, float]], name: str) -> tuple[float, float]:
    """Median and largest error of the predicted speed-ups, in percent."""
    found = [100 * abs(row[name] / row["measured"] - 1) for row in rows]
    return median(found), max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="parts of the names of cases")
    parser.add_argument("--again", action="store_true", help="time the plans once more")
    parser.add_argument("--picks", action="store_true", help="pick plans by timing instead")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    for case in CASES:
        name = str(case)
        if options.only and not any(part in name for part in options.only):
            continue
        own = found.setdefault(name, {"timed": []})
        if "picks" in own if options.picks else own["timed"] and not options.again:
            continue
        print(name, flush=True)
        problem = problem_of(case)
        paths, own["took_s"] = tables(case, problem, options.run_dir / name.replace(", ", "-"))
        if options.picks:
            own["picks"] = picks(problem, case.batch, paths)
            options.json.write_text(json.dumps(found, indent=1) + "\n")
            continue
        own["timed"].append(timed(case, problem, paths, options.seed))
        options.json.write_text(json.dumps(found, indent=1) + "\n")
        for table in paths:
            middle, most = errors(own["timed"][-1]["plans"], table)
            print(f"  {table}: median {middle:.1f} %, largest {most:.1f} %", flush=True)


if __name__ == "__main__":
    main()
