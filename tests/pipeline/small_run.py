"""A recipe small enough for a test, with a latency table built by hand."""

from collections.abc import Sequence
from pathlib import Path

from depthopt.core.artefacts import save_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.models.registry import create_model, model_arguments
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    NetworkKey,
    NetworkLatency,
)

NAME, SIZE = "small:residual", (1, 32, 32)

RECIPE = """
model: {{name: "{name}", input_size: [1, 32, 32]}}
data: {{source: digits, calibration_images: 128}}
teacher: {{steps: 10, checkpoint_every_s: 0}}
candidates: {{kernel_sizes: [1, 3], max_length: 6}}
latency: {{table: {table}}}
budget: {{speedup: 1.5}}
pick: predicted
importance: {{images: 256}}
apply: {{images: 320}}
finetune: {{epochs: 2, checkpoint_every_s: 0}}
"""


class Log:
    """Remembers which stages were carried out and which skipped."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.skipped_stages: list[str] = []

    def started(self, stage: str) -> None:
        self.done.append(stage)

    def progress(self, done: int, total: int, what: str) -> None:
        assert 0 <= done <= total
        assert what

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        assert stage == self.done[-1]
        assert seconds >= 0
        assert "\n" not in summary

    def skipped(self, stage: str) -> None:
        self.skipped_stages.append(stage)


def write_recipe(folder: Path) -> Path:
    """Write a recipe and its table."""
    model = create_model(NAME, model_arguments(NAME, SIZE, 10))
    write_table(extract(model, SIZE, name=NAME), folder / "table.json")
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE.format(name=NAME, table=folder / "table.json"))
    return recipe


def write_table(chain: Chain, path: Path, found: Sequence[Candidate] = ()) -> None:
    """Write a network's latencies: a microsecond per layer, a nanosecond per 100 MACs.

    Args:
        chain: the network's.
        path: the table's.
        found: whose latencies; those of the recipe's candidates if none are given.
    """
    found = found or candidates(chain, kernel_sizes=(1, 3), max_length=6)
    entries = {key: _summary(_ms(key)) for c in found for key in latency_keys(chain, c)}
    table = LatencyTable(get_runtime("onnxruntime").conditions(1), entries)
    total = sum(candidate_ms(chain, c, table) for c in found if c.kind == "keep")
    network = NetworkLatency(_summary(total + 0.01), 0.01)
    table = LatencyTable(table.conditions, entries, {NetworkKey.of(chain): network})
    save_json(table, path)


def _ms(key: LatencyKey) -> float:
    return 1e-3 + 1e-8 * key.operator.macs(key.input_size)


def _summary(ms: float) -> LatencySummary:
    return LatencySummary(ms, ms, ms, 1)
