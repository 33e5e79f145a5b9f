"""Extraction and exact merging of timm models: ``pytest tests/zoo --models NAME,GLOB,...``."""

import gc
from functools import lru_cache
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.errors import ModelError
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.graph.trace import trace
from depthopt.kinds.candidates import candidates
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.networks import randomised
from tests.plans import random_plan

SIZES = (64, 96)
"""Heights and widths, unless a model is made for one alone."""

LARGEST = 1_000_000
"""Parameters of the largest merged convolution that random plans draw; larger ones take long."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@pytest.fixture(scope="module")
def model(model_name: str) -> nn.Module:
    torch.manual_seed(0)
    return randomised(timm.create_model(model_name)).double()


@pytest.fixture(scope="module", params=SIZES)
def chain(request: pytest.FixtureRequest, model: nn.Module, model_name: str) -> Chain:
    """At the wanted size or, where the model refuses that, at larger ones, or its own."""
    channels, own, _ = model.pretrained_cfg.get("input_size", (3, 224, 224))
    refusals = []
    for size in (request.param, request.param + 64, own):
        try:
            return extract(model, (channels, size, size), name=model_name)
        except ModelError as refusal:
            refusals.append(str(refusal))
    pytest.skip(f"refused: {refusals}")


def drawn(chain: Chain, seed: int) -> Plan:
    """A random plan over all kinds of candidates, whether or not they would be faster."""
    return random_plan(chain, _moderate(chain), seed)


@lru_cache(maxsize=1)
def _moderate(chain: Chain) -> tuple[Candidate, ...]:
    everything = candidates(chain, kinds=("drop", "fit", "merge"), fewer_macs=False, max_length=8)
    return tuple(c for c in everything if _is_moderate(c))


def _is_moderate(candidate: Candidate) -> bool:
    new = candidate.kind in {"fit", "merge"}
    return not new or candidate.convolution.parameters <= LARGEST


def built(model: nn.Module, chain: Chain, plan: Plan, form: str) -> TracedNetwork:
    """The plan built; fitted convolutions get the same random weights in either form."""
    network, added = build(model, chain, plan, form)
    generator = torch.Generator().manual_seed(1)
    for choice, new in added.items():
        if choice.kind == "fit":
            conv = network.get_submodule(new.name)
            fan_in = conv.weight[0].numel()
            weight = torch.randn(conv.weight.shape, generator=generator) * fan_in**-0.5
            conv.weight.copy_(weight)
            if conv.bias is not None:
                conv.bias.zero_()
    return network.eval()


def image(chain: Chain, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn((2, *chain.input_size), generator=generator, dtype=torch.float64).to(dtype)


def difference(wanted: Tensor, got: Tensor) -> float:
    return float((wanted - got).abs().max() / wanted.abs().max())


@torch.no_grad()
def test_the_traced_network_is_the_model(model: nn.Module, chain: Chain) -> None:
    x = image(chain, torch.float64)
    network = trace(model, chain.input_size)
    assert difference(model(x), network(x)) < 1e-12
    assert difference(model(x), fuse(network)(x)) < 1e-9
    if hasattr(model, "forward_features") and hasattr(network, "forward_features"):
        assert difference(model.forward_features(x), network.forward_features(x)) < 1e-12


@torch.no_grad()
def test_expanded_fused_and_fuse_agree(
    model: nn.Module, chain: Chain, plans: int, request: pytest.FixtureRequest
) -> None:
    begin, sizes = SIZES.index(request.node.callspec.params["chain"]), len(SIZES)
    for seed in range(begin, max(plans, sizes), sizes):
        gc.collect()  # graphs and their modules refer to each other, and may hold gigabytes
        plan = drawn(chain, seed)
        expanded, fused = (built(model, chain, plan, form) for form in ("expanded", "fused"))
        for dtype, tolerance in TOLERANCE.items():
            expanded, fused, x = expanded.to(dtype), fused.to(dtype), image(chain, dtype)
            wanted = expanded(x)
            assert bool(torch.isfinite(wanted).all())
            for other in (fused, fuse(expanded)):
                assert difference(wanted, other(x)) < tolerance, plan.replaced


@pytest.mark.parametrize("chain", SIZES[:1], indirect=True)
@torch.no_grad()
def test_onnx_runtime_agrees(model: nn.Module, chain: Chain, tmp_path: Path) -> None:
    model.float()
    try:
        network = fuse(built(model, chain, drawn(chain, 0), "fused"))
        difference = export_onnx(
            network, tmp_path / "net.onnx", images=image(chain, torch.float32), batch=2
        )
        assert difference <= 1e-3
    finally:
        model.double()
