"""Methods that need no plan solved: fewer blocks in every stage, and channel pruning."""

from collections import defaultdict
from copy import deepcopy

import torch
from torch import nn

from contest.family import Family
from contest.methods import UNTOUCHED, Method, RecipeOf, context_of, planned
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.errors import UsageError
from depthopt.kinds.candidates import candidates
from depthopt.pipeline.context import Context

DEPTH, CHANNELS = "uniform depth", "channel pruning"

RATIOS = tuple(i / 64 for i in range(1, 63))
"""Shares of the channels to prune."""


def fewer_blocks(recipe_of: RecipeOf, base: Context) -> Family:
    """Every stage without its last residual blocks, the same share of each.

    What stays has the original's weights, as a smaller network of the same make would have
    if it were cut out of this one.

    Raises:
        UsageError: the network has no residual block whose skip is an identity.
    """
    context = context_of(Method(DEPTH, UNTOUCHED), recipe_of, base, until="extract")
    chain = context.chain
    stages = _stages(chain)
    levels = max(map(len, stages), default=0)
    if levels == 0:
        raise UsageError(f"{chain.model} has no residual block to leave out")
    plans = [
        _without(chain, [c for stage in stages for c in stage[: round(len(stage) * k / levels)]])
        for k in range(1, levels + 1)
    ]
    return planned(tuple(plans), context)


def _stages(chain: Chain) -> list[list[Candidate]]:
    """The blocks to leave out by stage, that is by the size of their tensors, last first."""
    stages: dict[object, list[Candidate]] = defaultdict(list)
    for drop in candidates(chain, kinds=("drop",)):
        if drop.kind == "drop" and not drop.operators:
            ending = chain.ending(drop.start, drop.end)
            stages[ending.channels, ending.size].insert(0, drop)
    return list(stages.values())


def _without(chain: Chain, dropped: list[Candidate]) -> Plan:
    starts = {drop.start: drop for drop in dropped}
    blocks, choices = kept_blocks(chain), []
    position = 0
    while position < len(blocks):
        choices.append(starts.get(position, blocks[position]))
        position = choices[-1].end
    share = sum(c.kind == "keep" for c in choices) / len(blocks)
    return Plan(chain.model, chain.input_size, tuple(choices), share, 1.0, 0.0)


def narrower(context: Context) -> Family:
    """Channels pruned by Torch-Pruning, as the example of its README does.

    Groups of channels by the L2 norm of their weights (DepGraph, arXiv 2301.12900), the same
    share of every layer, multiples of eight, the classifier's outputs left alone.
    """

    def pruned(index: int) -> nn.Module:
        return _pruned(context.teacher, context.chain.input_size, RATIOS[index])

    return Family(tuple((1 - ratio) ** -2 for ratio in RATIOS), pruned, pruned)


def _pruned(model: nn.Module, input_size: tuple[int, int, int], ratio: float) -> nn.Module:
    import torch_pruning  # an extra that only this method needs

    narrow = deepcopy(model).eval()
    classes = narrow(torch.zeros(1, *input_size)).shape[1]
    pruner = torch_pruning.pruner.BasePruner(
        narrow,
        torch.zeros(1, *input_size),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[
            m for m in narrow.modules() if isinstance(m, nn.Linear) and m.out_features == classes
        ],
        round_to=8,
    )
    pruner.step()
    narrow.zero_grad()
    return narrow
