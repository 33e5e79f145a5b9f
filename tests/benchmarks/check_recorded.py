"""How often a check against a recorded baseline is wrong, on this machine as busy as it is.

MobileNetV2 is measured by yardsticks several times over; each measurement is judged
against each other one, as it is and as if the network had become slower by so much: then
its yardsticks' shares are smaller by as much. Suspicions are not measured a second time.

Measurements are kept in a JSON file as they come; started again, it goes on from there.
"""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch

from depthopt.check.latency import SECONDS
from depthopt.check.yardsticks import YARDSTICKS, judged, shares_of
from depthopt.core.writing import write_bytes
from depthopt.export.onnx import export_onnx
from depthopt.runtimes.registry import get_runtime

CHANGES = (0.0, 0.08, 0.15, 0.3)


def network(path: Path) -> Path:
    """MobileNetV2 at 224x224 as an ONNX file."""
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv2_100").eval()
    export_onnx(model, path, images=torch.randn(1, 3, 224, 224))
    return path


def rows(runs: list[dict[str, list[float]]], tolerance: float) -> Iterator[str]:
    """The table."""
    keys = sorted(set.intersection(*map(set, runs)))
    logs = [np.log([run[key] for key in keys]) for run in runs]
    levels = np.array([np.median(log, axis=1) for log in logs])
    drift = (levels - levels.mean(axis=0)).mean(axis=1)
    yield f"{len(runs)} measurements, all yardsticks together drift by {np.ptp(drift):.1%}"
    yield "| slower by | pairs | regression | inconclusive | pass |"
    yield "|---|---|---|---|---|"
    for change in CHANGES:
        outcomes = Counter(
            judged(then, now - np.log1p(change), tolerance).outcome
            for then, now in itertools.permutations(logs, 2)
        )
        counts = (outcomes[name] for name in ("regression", "inconclusive", "pass"))
        yield f"| {' | '.join(map(str, (f'{change:.0%}', outcomes.total(), *counts)))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="measurements")
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="cap on a measurement")
    parser.add_argument("--out", type=Path, default=Path("runs/check_recorded.json"))
    options = parser.parse_args()
    runs = json.loads(options.out.read_text()) if options.out.exists() else []
    runtime = get_runtime("onnxruntime")
    if len(runs) < options.runs:
        model = network(options.out.with_suffix(".onnx"))
    while len(runs) < options.runs:
        found = shares_of(model, YARDSTICKS, runtime=runtime, batch=1, seconds=options.seconds)
        runs.append({key: shares.tolist() for key, shares in found.shares.items()})
        write_bytes(options.out, json.dumps(runs).encode())
    print("\n".join(rows(runs, options.tolerance)))


if __name__ == "__main__":
    main()
