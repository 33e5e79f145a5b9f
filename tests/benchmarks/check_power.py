"""How often a latency check calls a regression: on equal networks, and on truly slower ones.

MobileNetV2 is checked against itself, and against itself with so many 1x1 convolutions
more that it is 8 % or 2 % slower. How many these are, and how much slower they make it,
is measured first, over many sessions and at length. Cases take turns, check by check; a
*loaded* one has another process beside it that computes without a pause.

Outcomes are kept in a JSON file as they come; started again, it goes on from there.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import nn

from depthopt.check.latency import compare_latency, openers_of
from depthopt.check.sampling import BASELINE, CONTROL, CURRENT, clocks_for, sample
from depthopt.check.statistics import Change, change_of
from depthopt.core.writing import write_bytes
from depthopt.export.onnx import export_onnx
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime

CASES = {
    "equal": (0.0, False),
    "equal, loaded": (0.0, True),
    "8 % slower": (0.08, False),
    "2 % slower": (0.02, False),
    "8 % slower, loaded": (0.08, True),
}
"""By name: by what fraction the current network shall be slower, and whether under load."""

SHARES = {"equal": 2, "equal, loaded": 2, "8 % slower, loaded": 0.2}
"""Checks of a case for every one that is asked for; 1 where it is not named."""

PROBE_LAYERS = 30


def network(path: Path, size: int, extra: int) -> Path:
    """MobileNetV2 as an ONNX file, with so many 1x1 convolutions in its middle."""
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_100").eval()
    layers = [nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU6()) for _ in range(extra)]
    model.blocks[3] = nn.Sequential(model.blocks[3], *layers)
    export_onnx(model, path, images=torch.randn(1, 3, size, size))
    return path


def true_change(baseline: Path, current: Path, runtime: Runtime, seconds: float) -> Change:
    """By what fraction ``current`` is slower, at length."""
    clocks = clocks_for(runtime.conditions(1).threads)
    models = {BASELINE: baseline, CONTROL: baseline, CURRENT: current}
    openers = openers_of(runtime, models, 1)
    samples = sample(openers, seconds=seconds, settled=lambda _: False, clocks=clocks)
    return change_of(samples.log_ratios(CURRENT, processor=clocks.processor is not None))


@contextlib.contextmanager
def load(active: bool) -> Iterator[None]:
    """Another process that computes all the time."""
    if not active:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def prepared(state: dict, options: argparse.Namespace, runtime: Runtime) -> dict[float, Path]:
    """The networks by how much slower they are; their true changes go into ``state``."""
    folder = options.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    baseline = network(folder / "baseline.onnx", options.size, 0)
    models = {0.0: baseline}
    if "layers" not in state:
        probe = network(folder / "probe.onnx", options.size, PROBE_LAYERS)
        found = true_change(baseline, probe, runtime, options.calibration_seconds)
        state["layers"] = {
            str(wanted): max(1, round(PROBE_LAYERS * wanted / max(found.estimate, 1e-3)))
            for wanted, _ in CASES.values()
            if wanted
        }
    for wanted, layers in state["layers"].items():
        path = network(folder / f"slower_{wanted}.onnx", options.size, layers)
        models[float(wanted)] = path
        if wanted not in state["truth"]:
            found = true_change(baseline, path, runtime, options.calibration_seconds)
            state["truth"][wanted] = str(found)
    return models


def rows(state: dict) -> Iterator[str]:
    """The table."""
    yield "| case | true change | checks | regression | inconclusive | pass | seconds, median |"
    yield "|---|---|---|---|---|---|---|"
    for case, (wanted, _) in CASES.items():
        found = state["outcomes"].get(case, [])
        if not found:
            continue
        counts = [
            sum(one["outcome"] == outcome for one in found)
            for outcome in ("regression", "inconclusive", "pass")
        ]
        seconds = sorted(one["seconds"] for one in found)[len(found) // 2]
        truth = state["truth"].get(str(wanted), "none")
        cells = (case, truth, len(found), *counts, f"{seconds:.1f}")
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=100, help="of a slower network; equal: twice")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--seconds", type=float, default=15.0, help="cap, as of depthopt check")
    parser.add_argument("--calibration-seconds", type=float, default=40.0)
    parser.add_argument("--only", help="one case")
    parser.add_argument("--out", type=Path, default=Path("runs/check_power.json"))
    options = parser.parse_args()
    state = {"truth": {}, "outcomes": {}}
    if options.out.exists():
        state = json.loads(options.out.read_text())
    runtime = get_runtime("onnxruntime")
    models = prepared(state, options, runtime)
    for turn in range(2 * options.checks):
        for case, (wanted, loaded) in CASES.items():
            found = state["outcomes"].setdefault(case, [])
            due = min(options.checks * SHARES.get(case, 1), (turn + 1) * SHARES.get(case, 1))
            if options.only not in {None, case}:
                continue
            while len(found) < due:
                start = time.perf_counter()
                with load(loaded):
                    verdict, change = compare_latency(
                        models[0.0],
                        models[wanted],
                        runtime=runtime,
                        tolerance=options.tolerance,
                        seconds=options.seconds,
                        seed=1000 * len(found),
                    )
                found.append(
                    {
                        "outcome": verdict.outcome,
                        "reason": verdict.reason,
                        "estimate": change.change.estimate if change else None,
                        "busy": change.busy if change else None,
                        "seconds": round(time.perf_counter() - start, 2),
                    }
                )
                write_bytes(options.out, json.dumps(state).encode())
    print("\n".join(rows(state)))


if __name__ == "__main__":
    main()
