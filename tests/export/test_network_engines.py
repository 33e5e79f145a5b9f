"""Engines of whole networks, as TensorRT for RTX builds them: what becomes of their layers."""

from functools import cache
from pathlib import Path

import onnx
import pytest
import timm
import torch
from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.runtimes.tensorrt.ahead import build_ahead
from depthopt.runtimes.tensorrt.built import Built
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of, random_plan
from tests.real_images import crops

pytest.importorskip("tensorrt_rtx", reason="its wheels are for Linux on x86-64")

SIZE = (3, 224, 224)
KERNELS = {"mobilenetv2_100": 55, "resnet34": 40}
"""Of the whole network: one per convolution, pooling and classifier, and one that lays the image
out."""

NETWORKS = ("mobilenetv2_100", pytest.param("resnet34", marks=pytest.mark.slow))
SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10)))


@cache
def original(name: str) -> tuple[nn.Module, Chain, tuple[Candidate, ...]]:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    chain = extract(model, SIZE, name=name)
    return model, chain, candidates(chain, kinds=("merge",), max_length=4, fewer_macs=False)


def exported(name: str, path: Path, seed: int | None = None) -> onnx.ModelProto:
    """The network as ONNX, under a random plan of merges if there is a seed."""
    model, chain, found = original(name)
    plan = plan_of(chain) if seed is None else random_plan(chain, found, seed)
    assert bool(plan.replaced) == (seed is not None)
    export_onnx(fuse(apply(model, chain, plan)), path, images=crops(1, SIZE))
    return onnx.load(path)


def built(path: Path, dtype: str) -> Built:
    return build_ahead(path, targets=["sm89"], dtype=dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_activation_and_add_is_part_of_a_convolutions_kernel(
    name: str, tmp_path: Path
) -> None:
    model = exported(name, tmp_path / "net.onnx")
    operators = {node.name: node.op_type for node in model.graph.node}
    for dtype in ("float32", "float16"):
        found = built(tmp_path / "net.onnx", dtype)
        assert len(found.layers) == KERNELS[name]
        fused: set[str] = set()
        for layer in found.layers:
            if any(operators.get(node) == "Conv" for node in layer.nodes):
                fused.update(layer.nodes)
        rest = {name: kind for name, kind in operators.items() if name not in fused}
        assert set(rest.values()).isdisjoint({"Conv", "Clip", "Relu", "Add"}), (dtype, rest)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_random_merges_build(name: str, seed: int, tmp_path: Path) -> None:
    exported(name, tmp_path / "net.onnx", seed)
    for dtype in ("float32", "float16"):
        assert len(built(tmp_path / "net.onnx", dtype).layers) < KERNELS[name]
