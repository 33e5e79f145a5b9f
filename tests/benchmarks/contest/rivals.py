"""Methods that need no plan solved: fewer blocks in every stage, and channel pruning."""

from collections import defaultdict
from copy import deepcopy
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from contest.family import Family
from contest.methods import UNTOUCHED, Method, RecipeOf, context_of, planned
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.errors import UsageError
from depthopt.kinds.candidates import candidates
from depthopt.pipeline.context import Context

DEPTH = "uniform depth"

Criterion = Literal["magnitude", "taylor", "hessian"]

CHANNELS: dict[str, Criterion] = {
    "channel pruning": "magnitude",
    "channel pruning, Taylor": "taylor",
    "channel pruning, Hessian": "hessian",
}
"""By name what Torch-Pruning ranks channels by."""

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


def narrower(context: Context, criterion: Criterion = "magnitude") -> Family:
    """Channels pruned by Torch-Pruning, multiples of eight, the classifier's outputs left alone.

    With ``magnitude`` as the example of its README does: groups of channels by the L2 norm of their
    weights (DepGraph, arXiv 2301.12900), the same share of every layer. Else at its best: by the
    first-order Taylor expansion of the loss, or by its Hessian's diagonal (Optimal Brain Damage),
    on as many training images as ``apply`` regresses on, and ranked over all layers of one kind
    together (isomorphic pruning, arXiv 2407.04616). Of the gradients that it is to square and add,
    Torch-Pruning 1.6.1 keeps the last alone; here all are added.
    """
    gradients = {} if criterion == "magnitude" else _gradients(context, criterion)

    def pruned(index: int) -> nn.Module:
        return _pruned(context, RATIOS[index], criterion, gradients)

    return Family(tuple((1 - ratio) ** -2 for ratio in RATIOS), pruned, pruned)


def _gradients(context: Context, criterion: Criterion) -> dict[str, Tensor]:
    """Of every parameter the loss's gradient; for ``hessian`` the mean of the images' squares."""
    model = deepcopy(context.teacher).eval().requires_grad_()
    size, count = 1 if criterion == "hessian" else 64, 0
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for images, targets in context.train_batches(context.recipe.apply.images):
        for part, wanted in zip(images.split(size), targets.split(size), strict=True):
            model.zero_grad()
            nn.functional.cross_entropy(model(part), wanted, reduction="sum").backward()
            for name, parameter in model.named_parameters():
                own = parameter.grad
                total[name] += own.square() if criterion == "hessian" else own
        count += len(images)
    return {name: value / count for name, value in total.items()}


def _pruned(
    context: Context, ratio: float, criterion: Criterion, gradients: dict[str, Tensor]
) -> nn.Module:
    import torch_pruning  # an extra that only this method needs

    scores = torch_pruning.importance
    importance = {
        "magnitude": partial(scores.GroupMagnitudeImportance, p=2),
        "taylor": scores.GroupTaylorImportance,
        "hessian": scores.GroupHessianImportance,
    }[criterion]()
    narrow, best = deepcopy(context.teacher).eval().requires_grad_(), criterion != "magnitude"
    example = torch.zeros(1, *context.chain.input_size)
    classes = narrow(example).shape[1]
    for name, parameter in narrow.named_parameters() if best else ():
        parameter.grad = gradients[name].clone()
    pruner = torch_pruning.pruner.BasePruner(
        narrow,
        example,
        importance=importance,
        global_pruning=best,
        isomorphic=best,
        pruning_ratio=ratio,
        ignored_layers=[
            m for m in narrow.modules() if isinstance(m, nn.Linear) and m.out_features == classes
        ],
        round_to=8,
    )
    pruner.step()
    narrow.zero_grad()
    return narrow
