"""Each paper's method as settings carries a small network to its fused, exported form."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from depthopt.core.artefacts import save_json
from depthopt.core.candidate import kept_blocks
from depthopt.core.chain import Chain
from depthopt.extraction.extract import extract
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.models.memory import memory_name
from depthopt.pipeline.context import Context
from depthopt.pipeline.listed import listed
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.run import run
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencySummary, LatencyTable, NetworkKey, NetworkLatency
from tests.networks import randomised

SIZE = (1, 16, 16)

pytestmark = pytest.mark.usefixtures("hasty_bench")


class Inverted(nn.Module):
    """A stem, and a bottleneck beside a skip: expanded, depthwise, and linear at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._part(1, 4, 3, 2)
        self.block = nn.Sequential(
            self._part(4, 8, 1), self._part(8, 8, 3, groups=8), self._part(8, 4, 1)[:2]
        )
        self.last = self._part(4, 6, 1)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 10)

    @staticmethod
    def _part(before: int, after: int, side: int, stride: int = 1, groups: int = 1) -> nn.Module:
        conv = nn.Conv2d(before, after, side, stride, side // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 16, 16) to (N, 10)."""
        x = self.stem(x)
        return self.fc(self.pool(self.last(x + self.block(x))).flatten(1))


def write_table(recipe: Recipe, model: nn.Module, chain: Chain, path: Path) -> None:
    """A millisecond per layer, and next to nothing for its work: merging pays."""
    found, conditions = listed(recipe, model, chain), get_runtime("onnxruntime").conditions(1)
    keys = [key for candidate in found for key in latency_keys(chain, candidate)]
    entries = {key: summary(1 + 1e-6 * key.operator.macs(key.input_size)) for key in keys}
    table = LatencyTable(conditions, entries)
    whole = sum(candidate_ms(chain, block, table) for block in kept_blocks(chain))
    network = NetworkLatency(summary(whole + 0.5), 0.5)
    save_json(LatencyTable(conditions, entries, {NetworkKey.of(chain): network}), path)


def summary(ms: float) -> LatencySummary:
    return LatencySummary(ms, ms, ms, 1)


@pytest.fixture
def carried_out(tmp_path: Path) -> Callable[..., Context]:
    def carry_out(method: str, until: str) -> Context:
        model = randomised(Inverted()).eval()
        table = tmp_path / "table.json"
        recipe = Recipe.model_validate({
            "method": method,
            "model": {"name": memory_name(model), "input_size": SIZE},
            "data": {"source": "digits", "calibration_images": 32},
            "latency": {"table": str(table)},
            "budget": {"speedup": 1.4},
            "importance": {"train_images": 64, "score_images": 64, "train": {"batch_size": 32}},
            "finetune": {"steps": 2, "batch_size": 32, "checkpoint_every_s": 0},
        })  # fmt: skip
        chain = extract(model, SIZE, name=recipe.network_name)
        write_table(recipe, model, chain, table)
        return run(recipe, tmp_path / "out", until=until, model=model)

    return carry_out


@pytest.mark.parametrize("method", ["layermerge", "depth"])
def test_a_papers_method_ends_with_a_fused_network(
    method: str, carried_out: Callable[..., Context], caplog: pytest.LogCaptureFixture
) -> None:
    done = carried_out(method, "export")
    assert {c.kind for c in done.candidates} == {"keep", "merge"}
    entries = done.importance.entries
    assert {c.kind for c in entries} == {"keep", "merge"}, "a kept block has an entry too"
    assert done.importance.protocol.endswith("reduced")
    assert done.importance.form == "expanded"
    assert done.plan.speedup >= 1.4
    assert done.plan == done.frontier.pick(speedup=1.4)
    assert all(choice.kind in {"keep", "merge"} for choice in done.plan.choices)
    assert done.plan.replaced
    inputs = torch.rand(2, *SIZE)
    before, fused = done.network("finetuned")(inputs), done.network("fused")(inputs)
    assert torch.allclose(before, fused, atol=1e-4)
    onnx.checker.check_model(done.path("fused.onnx"))
    steps = [message for message in caplog.messages if "solves in steps of" in message]
    assert len(steps) == 1
