"""What compressed networks look like as ONNX files, and what they answer, on real images."""

import hashlib
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from depthopt.data.dataset import Dataset
from depthopt.data.load import load_dataset
from depthopt.export.onnx import export_onnx, load_onnx
from depthopt.graph.network import TracedNetwork
from tests.compressed import compressed

SIZE = (3, 32, 32)
NETWORKS = {
    "mobilenetv2_035": (
        {"kernel_sizes": (1, 3), "seed": 3},
        {"keep": 7, "fit": 5, "merge": 2, "drop": 1},
        ["Add", "Clip", "Conv", "Flatten", "Gemm", "GlobalAveragePool"],
    ),
    "resnet34": (
        {"kernel_sizes": (1,), "seed": 1, "channels": (16, 24, 32, 48)},
        {"keep": 6, "fit": 6, "drop": 1},
        ["Add", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Relu"],
    ),
}
"""How the plan is made, what it then holds, and all operators of the exported graph."""


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", input_size=SIZE, calibration_images=256, seed=0)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, data: Dataset) -> tuple[TracedNetwork, list[str]]:
    """One of them, and its operators."""
    options, kinds, operators = NETWORKS[request.param]
    images = [pixels for pixels, _ in islice(data.train.batches(32), 8)]
    found, plan = compressed(request.param, SIZE, images, **options)
    assert Counter(choice.kind for choice in plan.choices) == kinds
    return found, operators


@pytest.mark.parametrize("batch", [None, 1, pytest.param(8, marks=pytest.mark.slow)])
@torch.no_grad()
def test_they_are_convolutions_and_little_else_and_answer_alike(
    batch: int | None, network: tuple[TracedNetwork, list[str]], data: Dataset, tmp_path: Path
) -> None:
    shallow, operators = network
    images, _ = next(data.calibration.batches(104))
    wanted = shallow(images)
    assert wanted.std(0).mean() > 0.1, "or any file would do"
    path = tmp_path / "network.onnx"
    export_onnx(shallow, path, images=images, batch=batch)
    graph = load_onnx(path).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert sorted(kinds) == operators
    assert kinds["Conv"] == sum(isinstance(m, nn.Conv2d) for m in shallow.modules())
    weights = Counter(hashlib.sha256(tensor.raw_data).digest() for tensor in graph.initializer)
    assert set(weights.values()) == {1}, "no weight is there twice"
    assert path.stat().st_size < sum(4 * p.numel() for p in shallow.parameters()) + 50_000
    for size in (1, 8) if batch is None else (batch,):
        assert (wanted - logits(path, images, size)).abs().max() < 1e-3


def logits(path: Path, images: Tensor, batch: int) -> Tensor:
    """By ONNX Runtime itself, and not by what checks an export."""
    session = ort.InferenceSession(path)
    parts = [session.run(None, {"image": part.numpy()})[0] for part in images.split(batch)]
    return torch.from_numpy(np.concatenate(parts))
