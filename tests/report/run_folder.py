"""A finished run's folder, written by hand: only the solver is at work in it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from depthopt.core.artefacts import save_json
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Barrier, Block, Chain, Layout, Skip
from depthopt.core.metric import Metric
from depthopt.core.operators import Activation, Convolution
from depthopt.core.plan import Frontier
from depthopt.core.training import EpochRecord, TrainResult
from depthopt.core.writing import write_bytes
from depthopt.frontier.solve import solve
from depthopt.kinds.latency_keys import candidate_ms, latency_keys, parameters_read
from depthopt.kinds.merge import detail_of
from depthopt.pipeline.folder import Manifest, StageRecord
from depthopt.pipeline.result import NetworkFigures, Result
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    Footprint,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)

CONDITIONS = MeasurementConditions(
    "a device", "onnxruntime", "1.2.3", 1, "float32", 1, date="2026-11-25"
)
RELU = Activation("relu")
STAGES = ("teacher", "extract", "profile", "estimate", "solve", "apply", "finetune", "result")


def small_chain(name: str = "net") -> Chain:
    """Six blocks: an identity skip over two, a barrier, a step down in size."""
    wide, narrow = (16, 16), (8, 8)
    same = Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1))
    down = Convolution(4, 8, (3, 3), (2, 2), padding=(1, 1, 1, 1))
    deep = Convolution(8, 8, (3, 3), padding=(1, 1, 1, 1))

    def block(i: int, spec: Convolution, size: tuple[int, int], to: tuple[int, int]) -> Block:
        layout = Layout(spec.in_channels, size, spec.out_channels, to)
        nodes = f"x{i}", f"y{i}", f"z{i}", f"x{i + 1}"
        return Block(f"{name}.{i}", spec, layout, RELU, *nodes)

    blocks = (
        *(block(i, same, wide, wide) for i in range(3)),
        block(3, down, wide, narrow),
        *(block(i, deep, narrow, narrow) for i in (4, 5)),
    )
    skip = Skip(1, 3, "add", "x1")
    return Chain(
        name, (4, 16, 16), blocks, (skip,), (Barrier(5, "pool", f"pooling of {name}"),), ()
    )


def small_candidates(chain: Chain) -> tuple[Candidate, ...]:
    """The small chain's blocks, and a few candidates of every kind."""
    same, down, deep = (chain.blocks[i].operator for i in (0, 3, 4))
    five = Convolution(4, 4, (5, 5), padding=(2, 2, 2, 2))
    return (
        *kept_blocks(chain),
        Candidate(1, 3, "drop", (), RELU),
        Candidate(0, 1, "fit", (Convolution(4, 4, (1, 1)),), RELU),
        Candidate(1, 3, "fit", (same,), RELU),
        Candidate(1, 3, "merge", (five,), RELU, detail_of((1, 2))),
        Candidate(3, 5, "merge", (down,), RELU, detail_of((3,))),
        Candidate(5, 6, "fit", (Convolution(8, 8, (1, 1)),), RELU),
        Candidate(4, 5, "merge", (deep,), None, detail_of((4,))),
    )


def tables(
    chain: Chain, candidates: Sequence[Candidate], footprints: tuple[Footprint, ...] = ()
) -> tuple[LatencyTable, ImportanceTable]:
    """A microsecond per layer and a nanosecond per 100 MACs; costs that differ."""
    entries = {
        key: _summary(1e-3 + 1e-8 * key.operator.macs(key.input_size))
        for candidate in candidates
        for key in latency_keys(chain, candidate)
    }
    table = LatencyTable(CONDITIONS, entries)
    blocks = kept_blocks(chain)
    network = NetworkLatency(_summary(1.0), 0.002, footprints=footprints)
    factor = network.factor(sum(parameters_read(chain, kept) for kept in blocks))
    total = sum(candidate_ms(chain, kept, table) for kept in blocks) + 0.002
    networks = {NetworkKey.of(chain): replace(network, total=_summary(factor * total))}
    costs = {
        c: Importance(0.01 * (c.end - c.start) ** 1.5 * (1 + (7 * c.start + i) % 11 / 10))
        for i, c in enumerate(candidates)
        if c.kind != "keep"
    }
    return LatencyTable(CONDITIONS, entries, networks), ImportanceTable(
        chain.model, "regression", 64, costs
    )


ACCURACY = Metric("accuracy", "%", scale=100)


def write_run(
    folder: Path,
    chain: Chain | None = None,
    candidates: Sequence[Candidate] = (),
    *,
    data: str = "digits",
    footprints: tuple[Footprint, ...] = (),
) -> Frontier:
    """Write all that a report reads of a finished run; the plan is the middle one."""
    chain = chain or small_chain()
    candidates = candidates or small_candidates(chain)
    latency, importance = tables(chain, candidates, footprints)
    frontier = solve(chain, candidates, latency, importance)
    plan = frontier.plan(len(frontier.points) // 2)
    before = NetworkFigures(98.125, latency.network(chain).total, 12345, 6, 6)
    after = NetworkFigures(97.375, _summary(plan.latency_ms * 1.02), 2345, 4, 4)
    result = Result(
        chain.model, data, before, after, 91.25, 1797,
        before.latency.median_ms / after.latency.median_ms, plan.latency_ms, plan.speedup,
        1.5e-7, 2.5e-7, CONDITIONS, "fused", "fused.onnx", ACCURACY,
    )  # fmt: skip
    history = tuple(EpochRecord(2.0 / i, 1e-3, 3.0, 500.0, 90.0 + i) for i in range(1, 5))
    for name, value in {
        "chain.json": chain,
        "latency.json": latency,
        "importance.json": importance,
        "frontier.json": frontier,
        "plan.json": plan,
        "finetuned/history.json": TrainResult(history, 128, ACCURACY),
        "result.json": result,
        "manifest.json": Manifest(
            {stage: StageRecord(stage, {}, 12.5, {"torch": "2.9.1"}) for stage in STAGES},
            {stage: stage for stage in STAGES},
        ),
    }.items():
        save_json(value, folder / name)
    recipe = f"model:\n  name: {chain.model}\ndata:\n  source: {data}\n"
    write_bytes(folder / "recipe.yaml", recipe.encode())
    return frontier


def _summary(ms: float) -> LatencySummary:
    return LatencySummary(ms, ms * 0.99, ms * 1.01, 30)
