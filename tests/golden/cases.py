"""The networks, images and settings of the golden files, and what is worked out of them.

Every step starts from values that the step before gave, which a test reads from the golden files:
a step is compared by itself, and what differs in one does not show in all that follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier, Plan
from depthopt.extraction.extract import extract
from depthopt.frontier.caps import LatencyCap, MemoryCap, ParameterCap, live_elements
from depthopt.frontier.solve import solve
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.latency.worthwhile import worthwhile
from depthopt.rewrite.options import Form
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from depthopt.solver.stages import Bucketed, Epsilon
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from depthopt.tasks.classifier import regress_classifier
from tests.golden.plain import plain_network
from tests.networks import randomised

CONDITIONS = MeasurementConditions("formula", "onnxruntime", "1.0", 1, "float32", 1, "2025-01-01")


@dataclass(frozen=True)
class Case:
    """One network and its settings.

    Attributes:
        model: timm's name.
        size: (channels, height, width) of its input.
        candidates: what ``depthopt.candidates`` takes.
        arguments: what ``timm.create_model`` takes beside the name.
        form: of merges, for the estimate.
        slow: whether regressions take long, at the network's full width.
    """

    model: str
    size: tuple[int, int, int]
    candidates: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "fused"
    slow: bool = False


_KINDS = ("drop", "fit", "merge")
_RESNET = {"kinds": _KINDS, "kernel_sizes": (1, 3), "max_length": 3, "fewer_macs": False}
_MOBILENET = {"kinds": _KINDS, "kernel_sizes": (1, 3), "max_length": 4, "inserted": "relu6"}
_GATED = {"kinds": _KINDS, "kernel_sizes": (3,), "max_length": 6, "fewer_macs": False}

_SIZE = (3, 32, 32)

CASES = {
    "resnet18": Case("resnet18", _SIZE, _RESNET, slow=True),
    "resnet18_narrow": Case("resnet18", _SIZE, _RESNET, {"channels": (16, 24, 32, 48)}),
    "mobilenetv2_100": Case("mobilenetv2_100", _SIZE, _MOBILENET, form="expanded", slow=True),
    "mobilenetv2_035": Case("mobilenetv2_035", _SIZE, _MOBILENET, form="expanded"),
    "seresnet50": Case("seresnet50", _SIZE, {**_GATED, "kernel_sizes": (1,)}, slow=True),
    "seresnet50_narrow": Case("seresnet50", _SIZE, _GATED, {"channels": (8, 12, 16, 24)}),
}

PICKED = {
    "1.3x": ("fit, kept and replaced", 1.3),
    "2x": ("fit, exact", 2.0),
    "3x": ("magnitude, exact", 3.0),
}
"""Plans by name: the frontier that each is of, and its least predicted speed-up."""

TRAINED: tuple[tuple[str, Form], ...] = (
    ("1.3x", "fused"),
    ("2x", "expanded"),
    ("3x", "fused"),
    ("3x", "expanded"),
)
"""Which plan is carried out in which form."""


@cache
def network(case: str) -> nn.Module:
    """The original, with seeded weights."""
    given = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomised(timm.create_model(given.model, num_classes=10, **given.arguments))


@cache
def chain_of(case: str) -> Chain:
    """Its chain."""
    return extract(network(case), CASES[case].size, name=CASES[case].model)


@cache
def candidates_of(case: str) -> tuple[Candidate, ...]:
    """Its candidates."""
    return candidates(chain_of(case), **CASES[case].candidates)


def latencies(chain: Chain, found: tuple[Candidate, ...]) -> LatencyTable:
    """A microsecond per entry, and one per 100 000 multiply-accumulates."""
    entries = {key: _summary(_ms(key)) for c in found for key in latency_keys(chain, c)}
    table = LatencyTable(CONDITIONS, entries)
    kept_ms = 0.0
    for candidate in found:  # not by sum(), which from Python 3.12 on rounds once
        kept_ms += candidate_ms(chain, candidate, table) if candidate.kind == "keep" else 0.0
    whole = NetworkLatency(_summary(kept_ms + 0.01), 0.01, 0.9, ("all",))
    return LatencyTable(CONDITIONS, entries, {NetworkKey.of(chain): whole})


def _ms(key: LatencyKey) -> float:
    return 1e-3 + 1e-8 * key.operator.macs(key.input_size)


def _summary(ms: float) -> LatencySummary:
    return LatencySummary(ms, 0.9 * ms, 1.1 * ms, 9, True)


def magnitudes(case: str, found: tuple[Candidate, ...]) -> ImportanceTable:
    """Importances that need no images."""
    return estimate(network(case), chain_of(case), found, estimator="magnitude")


def fits(case: str, found: tuple[Candidate, ...], table: LatencyTable) -> ImportanceTable:
    """Importances by regression, of the candidates that are worth it."""
    return estimate(
        network(case),
        chain_of(case),
        worthwhile(chain_of(case), found, table),
        fitting=[pixels for pixels, _ in _batches(case, first=1, count=2)],
        held_out=_batches(case),
        form=CASES[case].form,
    )


def frontiers(
    chain: Chain,
    found: tuple[Candidate, ...],
    table: LatencyTable,
    magnitude: ImportanceTable,
    fit: ImportanceTable,
) -> dict[str, Frontier]:
    """Frontiers by what they were solved for."""
    near = worthwhile(chain, found, table)
    original_ms = table.network(chain).total.median_ms
    weights = sum(block.operator.parameters for block in chain.blocks)
    caps = (
        LatencyCap(table, 0.8 * original_ms),
        ParameterCap(weights * 9 // 10),
        MemoryCap(4 * max(live_elements(chain, c) for c in found) * 9 // 10),
    )
    first, last = chain.blocks[0].name, chain.blocks[-2].name
    merging = [c for c in near if c.kind in {"keep", "merge"}]
    buckets = Bucketed(original_ms / 200)
    return {
        "magnitude, exact": solve(chain, found, table, magnitude),
        "magnitude, bucketed": solve(chain, found, table, magnitude, mode=buckets),
        "fit, exact": solve(chain, near, table, fit),
        "fit, epsilon, capped": solve(chain, near, table, fit, mode=Epsilon(0.1), caps=caps),
        "fit, kept and replaced": solve(chain, near, table, fit, keep=[first], replace=[last]),
        # What was an exponent in points is one in fractions now.
        "fit, exp_accuracy": solve(
            chain, near, table, replace(fit, unit="fraction"), objective="exp_metric"
        ),
        "fit, merges": solve(chain, merging, table, fit),
    }


def plans_of(frontiers: Mapping[str, Frontier]) -> dict[str, Plan]:
    """The plans that are carried out, by name."""
    return {
        name: frontiers[source].pick(speedup=speedup) for name, (source, speedup) in PICKED.items()
    }


def networks(case: str, plan: Plan, form: Form) -> dict[str, Any]:
    """Plain data of the network that ``apply`` makes, and of the fused one.

    Its convolutions are regressed and the kept ones compensated. Of a plan that is trained in its
    fused form the classifier is regressed, too.
    """
    batches = _batches(case, first=10, count=5, images=8)
    applied = apply(
        network(case),
        chain_of(case),
        plan,
        fitting=[pixels for pixels, _ in batches],
        form=form,
        start="at_once",
    )
    if form == "fused":
        regress_classifier(applied, batches, _batches(case))
    ((images, _),) = _batches(case, first=20, images=2)
    return {
        "applied": plain_network(applied, images),
        "fused": plain_network(fuse(applied), images),
    }


def _batches(
    case: str, first: int = 0, count: int = 1, images: int = 16
) -> list[tuple[Tensor, Tensor]]:
    """Seeded images in [-2, 2] with smooth shapes in them, and labels."""
    found = []
    for seed in range(first, first + count):
        generator = torch.Generator().manual_seed(seed)
        channels, height, width = CASES[case].size
        coarse = torch.randn(images, channels, height // 8, width // 8, generator=generator)
        noise = torch.randn(images, channels, height, width, generator=generator)
        smooth = nn.functional.interpolate(coarse, (height, width))
        found.append((smooth + 0.3 * noise, torch.randint(0, 10, (images,), generator=generator)))
    return found
