"""What golden files hold of chains, tables, frontiers, plans and networks: plain data.

Numbers, strings, lists and dictionaries by key, which say nothing of how the package lays out its
dataclasses. Where that changes, this file's imports and names follow; what it returns stays.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain, Ending, Skip
from depthopt.core.operators import Activation, AveragePooling
from depthopt.core.plan import Frontier, Plan
from depthopt.extraction.coverage import reducible_share
from depthopt.frontier.caps import live_elements
from depthopt.kinds.latency_keys import latency_keys, parameters
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencySummary, LatencyTable


def plain_chain(chain: Chain) -> dict[str, Any]:
    """A chain's parts in words, its legal segments, and how much of it could go."""
    return {
        "model": chain.model,
        "input_size": list(chain.input_size),
        "conv_macs": chain.conv_macs,
        "blocks": [_block(block) for block in chain.blocks],
        "skips": [_skip(skip) for skip in chain.skips],
        "barriers": [
            [b.position, b.node, b.reason, None if b.region is None else list(b.region)]
            for b in chain.barriers
        ],
        "unused": [[unused.node, unused.reason] for unused in chain.unused],
        "segments": [list(segment) for segment in chain.segments()],
        "mergeable": [
            list(segment) for segment in chain.segments() if not chain.why_unmergeable(*segment)
        ],
        "reducible_share": [reducible_share(chain), reducible_share(chain, merging=True)],
    }


def _block(block: Block) -> list[Any]:
    sizes = [list(block.layout.input_size), list(block.layout.output_size)]
    nodes = [block.input, block.linear, block.preactivation, block.output]
    return [block.name, str(block.operator), *sizes, _text(block.activation), *nodes]


def _skip(skip: Skip) -> list[Any]:
    projection, pool = [None, None], [None, None]
    for layer in skip.branch:
        if isinstance(layer.operator, AveragePooling):
            pool = [str(layer.operator).removeprefix("avgpool "), layer.name]
        else:
            projection = [str(layer.operator), layer.name]
    nodes = [skip.source, skip.target, skip.add, skip.operand]
    return [*nodes, *projection, *pool, _ending(skip.ending), skip.gated]


def _ending(ending: Ending | None) -> list[Any] | None:
    if ending is None:
        return None
    nodes = [ending.preactivation, _text(ending.activation), ending.output]
    return [*nodes, ending.channels, list(ending.size)]


def _text(activation: Activation | None) -> str | None:
    return None if activation is None else str(activation)


def plain_candidates(chain: Chain, candidates: Iterable[Candidate]) -> dict[str, Any]:
    """By key, in order: parameters, elements alive while it runs, keys of what it runs."""
    return {
        candidate.key: [
            parameters(chain, candidate),
            live_elements(chain, candidate),
            *(str(key) for key in latency_keys(chain, candidate)),
        ]
        for candidate in candidates
    }


def plain_latencies(table: LatencyTable) -> dict[str, Any]:
    """A latency table: what a file of schema version 1 holds of it."""
    conditions = table.conditions
    return {
        "conditions": {
            "device": conditions.device,
            "runtime": conditions.runtime,
            "runtime_version": conditions.runtime_version,
            "threads": conditions.threads,
            "dtype": conditions.dtype,
            "batch": conditions.batch,
            "date": conditions.date,
            "clock_mhz": conditions.clock_mhz,
        },
        "entries": {str(key): _summary(entry) for key, entry in table.entries.items()},
        "networks": {
            str(key): {
                "total": _summary(network.total),
                "fixed_ms": network.fixed_ms,
                "blocks_share": network.blocks_share,
                "covers": list(network.covers),
            }
            for key, network in table.networks.items()
        },
    }


def _summary(summary: LatencySummary) -> dict[str, Any]:
    return {
        "median_ms": summary.median_ms,
        "q1_ms": summary.q1_ms,
        "q3_ms": summary.q3_ms,
        "count": summary.count,
        "settled": summary.settled,
    }


def plain_importances(table: ImportanceTable) -> dict[str, Any]:
    """An importance table: what a file of schema version 1 holds of it."""
    return {
        "model": table.model,
        "estimator": table.estimator,
        "images": table.images,
        "entries": {
            str(key): {
                "cost": entry.cost,
                "divergence": entry.divergence,
                "loss_increase": entry.loss_increase,
                "metric_change": entry.metric_change,
            }
            for key, entry in table.entries.items()
        },
    }


def plain_frontier(frontier: Frontier, keys: Sequence[str]) -> dict[str, Any]:
    """A frontier; candidates are their places in ``keys``.

    A point is its latency, its cost, the number of its choices, and, against the point before,
    which choices are gone and which are new.
    """
    place = {key: index for index, key in enumerate(keys)}
    place_of = {id(candidate): place[candidate.key] for candidate in frontier.candidates}
    points, before = list[Any](), list[int]()
    for index in range(len(frontier.points)):
        plan = frontier.plan(index)
        after = [place_of[id(choice)] for choice in plan.choices]
        gone = [choice for choice in before if choice not in after]
        new = [choice for choice in after if choice not in before]
        points.append([plan.latency_ms, plan.cost, len(after), gone, new])
        before = after
    return {
        "model": frontier.model,
        "input_size": list(frontier.input_size),
        "original_ms": frontier.original_ms,
        "candidates": [place_of[id(candidate)] for candidate in frontier.candidates],
        "points": points,
    }


def plain_plan(plan: Plan) -> dict[str, Any]:
    """A plan; its choices by key."""
    return {
        "model": plan.model,
        "input_size": list(plan.input_size),
        "latency_ms": plan.latency_ms,
        "original_ms": plan.original_ms,
        "cost": plan.cost,
        "speedup": plan.speedup,
        "choices": [choice.key for choice in plan.choices],
        "replaced": [choice.key for choice in plan.replaced],
    }


@torch.no_grad()
def plain_network(network: nn.Module, images: Tensor) -> dict[str, Any]:
    """Shape, type and digest of every tensor by name, and the logits of ``images``."""
    return {
        "tensors": {
            name: [list(tensor.shape), str(tensor.dtype), _digest(tensor)]
            for name, tensor in network.state_dict().items()
        },
        "logits": network(images).tolist(),
    }


def _digest(tensor: Tensor) -> str:
    """The first 24 digits of the SHA-256 of a tensor's bytes."""
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:24]
