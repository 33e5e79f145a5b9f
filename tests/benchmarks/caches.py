"""What a network's and its blocks' times owe to the caches.

    python tests/benchmarks/caches.py resnet18 --size 32 --json tests/benchmarks/caches.json

- *passes*: the network is run again and again, after other memory was read, or after a pause in
  which the process does nothing; the median time of the first call, the second, and so on.
- *ballast*: the sum of the blocks' entries over the network's time, by the bytes that an entry and
  what is read before it make up together, with cold caches (one pass before a sample) and with
  warm ones (``WARMING`` passes).
- *counters*: cycles and instructions of a call, where ``perf stat`` gives them.

Run it on an idle machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch

from depthopt.core.candidate import kept_blocks
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.graph.examples import made_up
from depthopt.kinds.latency_keys import latency_keys
from depthopt.latency import bench
from depthopt.latency.bench import Bench
from depthopt.latency.graphs.entry import ballast_graph
from depthopt.latency.measure import ready
from depthopt.latency.profile import GROUP_SIZE
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey

MEBIBYTES = (2, 4, 8, 16, 24, 32, 48)
PASSES, ROUNDS = 8, 30
READ_BYTES = 400 << 20
"""Memory that displaces everything from any cache."""


def passes(network: Callable[[], object]) -> dict[str, list[float]]:
    """Milliseconds of the first calls, by what was done before them."""
    memory = np.ones(READ_BYTES // 8)
    before: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "400 MiB were read": memory.sum,
        "a pause of 50 ms": partial(time.sleep, 0.05),
    }
    found = {}
    for name, disturb in before.items():
        for _ in range(50):
            network()
        rows = []
        for _ in range(ROUNDS):
            disturb()
            rows.append([_timed_ms(network) for _ in range(PASSES)])
        found[name] = np.median(rows, axis=0).tolist()
    return found


def _timed_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def blocks_share(
    runtime: Runtime, path: Path, keys: list[LatencyKey], mebibytes: float, warming: int
) -> float:
    """The blocks' entries over the network's time in the same rounds."""
    bench.WARMING = warming
    at = Bench(runtime, path, batch=1, entry_seconds=0.25, ballast_mib=mebibytes)
    shares: dict[LatencyKey, float] = {}
    different = list(dict.fromkeys(keys))
    for begin in range(0, len(different), GROUP_SIZE):
        group = at.measure(different[begin : begin + GROUP_SIZE])
        shares |= {key: float(np.median(ratios)) for key, ratios in group.ratios.items()}
    return sum(shares[key] for key in keys)


def counters(path: Path, pause_s: float) -> dict[str, float] | None:
    """Cycles and instructions of a call by ``perf stat``; None where the machine has none."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    code = (
        "import sys, time; from pathlib import Path;"
        "from depthopt.latency.measure import ready;"
        "from depthopt.runtimes.registry import get_runtime;"
        "call = ready(get_runtime('onnxruntime'), Path(sys.argv[1]), 1);"
        "n, pause = int(sys.argv[2]), float(sys.argv[3]);"
        "[(time.sleep(pause), call()) for _ in range(n)]"
    )
    events = "cycles:u,instructions:u"
    totals = []
    for count in (50, 250):
        command = [perf, "stat", "-x,", "-e", events, sys.executable, "-c", code]
        done = subprocess.run(
            [*command, str(path), str(count), str(pause_s)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        )
        found = {line.split(",")[2]: line.split(",")[0] for line in done.stderr.splitlines()}
        try:
            totals.append({name: float(found[name]) for name in events.split(",")})
        except (KeyError, ValueError):
            return None
    return {name: (totals[1][name] - totals[0][name]) / 200 for name in totals[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    runtime = get_runtime("onnxruntime", threads=1)
    torch.manual_seed(0)
    size = (3, options.size, options.size)
    model = timm.create_model(options.model).eval()
    chain = extract(model, size, name=options.model)
    keys = [key for block in kept_blocks(chain) for key in latency_keys(chain, block)]
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    own = found.setdefault(f"{options.model} at {options.size}x{options.size}", {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "original.onnx"
        export_onnx(model, path, images=made_up(size, 2), batch=1)
        own["passes_ms"] = passes(ready(runtime, path, 1))
        displaced = ready(runtime, ballast_graph(48 << 20), 1)
        displaced()
        own["blocks_share"] = {
            name: {f"{mib:g}": blocks_share(runtime, path, keys, mib, warming) for mib in MEBIBYTES}
            for name, warming in (("cold", 1), ("warm", bench.WARMING))
        }
        own["counters"] = {
            name: counters(path, pause) for name, pause in (("at once", 0.0), ("paused", 0.05))
        }
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(own, indent=1))


if __name__ == "__main__":
    main()
