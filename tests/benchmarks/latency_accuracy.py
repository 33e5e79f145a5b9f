"""How far latency tables can be trusted: predictions, the original's own sum, repeatability.

For each model and runtime, in processes of their own: the table is measured twice, and
random plans are built, fused and timed in turn with the original.

- *own sum*: the original's blocks, a bare call, and the layers that are no block (by the
  runtime's profiler), as measured, over its end-to-end time in the same process.
- *error*: predicted over measured speed-up of a plan, less 1, absolute.
- *scatter*: an entry over the original's time, in one process against the other.

Run it on an idle machine.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from depthopt.core.artefacts import load_json
from depthopt.core.writing import write_bytes
from depthopt.report.validation import validation_svg
from depthopt.tables.latency import LatencyTable
from depthopt.tables.validation import Validation

IN_BLOCKS = re.compile(
    r"conv|add|sum|relu|clip|clamp|subgraph|eltwise|hardtanh|swish|sigmoid|silu", re.IGNORECASE
)
"""Operators of layers that entries stand for, in the runtimes' words."""


def profile(model: str, runtime: str, path: Path, *options: str) -> dict:
    """``depthopt profile`` in a process of its own."""
    command = "from depthopt.cli.main import main; main()"
    arguments = ["profile", model, "--runtime", runtime, "--tables", str(path), "--json", *options]
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments], check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def own_sum(summary: dict) -> float:
    """The original's parts over the whole."""
    layers = summary["layers"]
    rest = sum(x["median_ms"] for x in layers if not IN_BLOCKS.search(x["operator"]))
    return summary["blocks_share"] + rest / sum(x["median_ms"] for x in layers)


def scatter(one: Path, two: Path) -> np.ndarray:
    """Absolute differences of the entries of two tables, each over its original's time."""
    tables = [load_json(LatencyTable, path) for path in (one, two)]
    totals = [next(iter(table.networks.values())).total.median_ms for table in tables]
    shares = [
        {key: entry.median_ms / total for key, entry in table.entries.items()}
        for table, total in zip(tables, totals, strict=True)
    ]
    common = shares[0].keys() & shares[1].keys()
    return np.array([abs(shares[1][key] / shares[0][key] - 1) for key in common if shares[0][key]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="mobilenetv2_100,resnet34")
    parser.add_argument("--runtimes", default="onnxruntime,openvino")
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    validations = []
    print("| model | runtime | own sum | median error | largest | scatter, median | 95 % |")
    print("|---|---|---|---|---|---|---|")
    for runtime in options.runtimes.split(","):
        for model in options.models.split(","):
            with tempfile.TemporaryDirectory() as folder:
                one, two = Path(folder) / "one.json", Path(folder) / "two.json"
                plans = ("--validate", str(options.plans), "--seed", str(options.seed))
                summary = profile(model, runtime, one, "--layers", *plans)
                profile(model, runtime, two)
                (stored,) = Path(folder).glob("one.validation-*.json")
                validations.append(load_json(Validation, stored))
                differences = scatter(one, two)
            errors = [abs(timing.error) for timing in validations[-1].timings]
            figures = (
                own_sum(summary) if summary["layers"] else float("nan"),
                median(errors),
                max(errors),
                np.median(differences),
                np.quantile(differences, 0.95),
            )
            cells = " | ".join(f"{100 * figure:.1f} %" for figure in figures)
            print(f"| {model} | {runtime} | {cells} |", flush=True)
    if options.plot:
        write_bytes(options.plot, validation_svg(*validations))


if __name__ == "__main__":
    main()
