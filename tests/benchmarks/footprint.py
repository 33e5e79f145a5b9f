"""What a plan's entries take by how many bytes are read between two uses of a weight.

Random plans are built, fused and timed in turn with the original. Then every entry of theirs, and
of the original, is measured at several footprints: bytes that its copies and the ballast before
them make up together (``depthopt.latency.bench``). A plan's own footprint is that of its weights.

    python tests/benchmarks/footprint.py efficientnet_lite0 --size 96 --json footprint.json

Run it on an idle machine; what is done is kept in the file, and a stopped run goes on.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.chained import running
from depthopt.kinds.latency_keys import latency_keys, parameters
from depthopt.latency.bench import Bench
from depthopt.latency.graphs.entry import ballast_graph
from depthopt.latency.measure import Effort
from depthopt.latency.profile import GROUP_SIZE
from depthopt.latency.timing import plan_timer
from depthopt.latency.validate import random_plan
from depthopt.runtimes.base import Runtime
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey

MEBIBYTES = (0.25, 1, 2, 4, 8, 16, 32, 48)


class At(Bench):
    """A bench with a footprint of its own, however small."""

    def __init__(self, runtime: Runtime, network: Path, batch: int, footprint_bytes: int) -> None:
        super().__init__(runtime, network, batch=batch, entry_seconds=0.25)
        self.footprint_bytes = footprint_bytes
        self._ballast = np.ones((1, max(footprint_bytes // 4, 1)), dtype=np.float32)

    def _after(self, own_bytes: int):
        size = max(4096, self.footprint_bytes - own_bytes) // 4096 * 4096
        if size not in self._ballasts:
            session = self.runtime.compile(ballast_graph(size))
            self._ballasts[size] = partial(session.run, {"ballast": self._ballast[:, : size // 4]})
        return self._ballasts[size]


def keys_of(chain: Chain, choices: tuple[Candidate, ...]) -> list[LatencyKey]:
    return [key for c in running(chain, choices) for key in latency_keys(chain, c)]


def bytes_of(chain: Chain, choices: tuple[Candidate, ...]) -> int:
    return 4 * sum(parameters(chain, c) for c in running(chain, choices))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    runtime = get_runtime(options.runtime, threads=options.threads)
    torch.manual_seed(0)
    size = (3, options.size, options.size)
    model = timm.create_model(options.model).eval()
    chain = extract(model, size, name=options.model)
    plans = [kept_blocks(chain)]
    plans += [random_plan(chain, candidates(chain), seed=i).choices for i in range(options.plans)]
    found = json.loads(options.json.read_text()) if options.json.exists() else {}
    found.setdefault("plans", [])
    found.setdefault("entries", {})

    def save() -> None:
        options.json.write_text(json.dumps(found, indent=1))

    with plan_timer(
        model, chain, runtime=runtime, batch=options.batch, effort=Effort(seconds=6.0)
    ) as timer:
        for i in range(len(found["plans"]), len(plans)):
            plan = Plan(chain.model, chain.input_size, plans[i], 1.0, 1.0, 0.0)
            speedup = timer(plan) if i else 1.0
            found["plans"].append({"bytes": bytes_of(chain, plans[i]), "speedup": speedup})
            print(f"plan {i}: {found['plans'][-1]}", flush=True)
            save()
    keys = tuple(dict.fromkeys(key for choices in plans for key in keys_of(chain, choices)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "original.onnx"
        example = torch.randn(max(2, options.batch), *size)
        export_onnx(model, path, images=example, batch=options.batch)
        for mebibytes in MEBIBYTES:
            entries = found["entries"].setdefault(str(mebibytes), {})
            bench = At(runtime, path, options.batch, int(mebibytes * 2**20))
            left = [key for key in keys if str(key) not in entries]
            for begin in range(0, len(left), GROUP_SIZE):
                group = bench.measure(left[begin : begin + GROUP_SIZE])
                for key, ratios in group.ratios.items():
                    entries[str(key)] = float(np.median(ratios))
                entries["network_ms"] = float(np.median(group.network_ms))
                entries["call"] = float(np.median(group.call_ms / group.network_ms))
                save()
            sums = [sum(entries[str(key)] for key in keys_of(chain, choices)) for choices in plans]
            found.setdefault("sums", {})[str(mebibytes)] = sums
            save()
            print(
                f"{mebibytes} MiB: the original's blocks are {100 * sums[0]:.1f} % of it",
                flush=True,
            )
    told("all at the largest footprint", found, lambda _: MEBIBYTES[-1])
    for times in (1.0, 1.5, 2.0, 2.5):
        told(f"each at {times:g} times its weights", found, lambda mb, by=times: mb * by)


def told(name: str, found: dict, footprint: Callable[[float], float]) -> None:
    """Print how far predictions are off, with plans' sums at a footprint by their weights' MiB."""
    sums, grid = found["sums"], np.log(MEBIBYTES)
    fixed = 1 - sums[str(MEBIBYTES[-1])][0]
    errors = []
    for i, plan in enumerate(found["plans"][1:], start=1):
        at = np.log(footprint(plan["bytes"] / 2**20))
        own = np.interp(at, grid, [sums[str(each)][i] for each in MEBIBYTES])
        errors.append(100 * (1 / (fixed + own) / plan["speedup"] - 1))
    sizes = list(map(abs, errors))
    each = " ".join(f"{error:+.0f}" for error in errors)
    print(f"{name}: median {statistics.median(sizes):.1f} %, worst {max(sizes):.1f} % ({each})")


if __name__ == "__main__":
    main()
