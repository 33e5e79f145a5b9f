"""Build, fuse and time plans of one network in turn with the original."""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.export.onnx import export_onnx
from depthopt.graph.examples import made_up
from depthopt.latency.measure import Effort, ready, sample_in_turn
from depthopt.runtimes.base import Runtime
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse

Timer = Callable[[Plan], float]
"""A callable that measures how many times as fast as the original a plan's network is."""


@contextmanager
def plan_timer(
    model: nn.Module, chain: Chain, *, runtime: Runtime, batch: int, effort: Effort
) -> Iterator[Timer]:
    """A context with a timer of plans.

    The weights of fitted convolutions are random, which latency does not depend on.

    Args:
        model: the original network.
        chain: its chain.
        runtime: to measure on.
        batch: images per call.
        effort: how long each plan is timed, the original's share included.

    Raises:
        ModelError: when called, the runtime cannot run a fused network.
    """
    examples = made_up(chain.input_size, max(batch, 2))
    with tempfile.TemporaryDirectory() as folder:

        def runner(network: nn.Module, name: str) -> Callable[[], object]:
            path = Path(folder) / f"{name}.onnx"
            export_onnx(network, path, images=examples, batch=batch)
            return ready(runtime, path, batch)

        original = runner(model, "original")

        def speedup(plan: Plan) -> float:
            shallow = fuse(build(model, chain, plan)[0])
            calls = {"original": original, "plan": runner(shallow, "plan")}
            originals, plans = sample_in_turn(calls, effort=effort).values()
            return statistics.median(o / p for o, p in zip(originals, plans, strict=True))

        yield speedup
