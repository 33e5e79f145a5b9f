"""What a convolution of a shallow network sees, and what it should give."""

from collections.abc import Iterator

import torch
from torch import Tensor, fx

from depthopt.core.spec import ConvSpec
from depthopt.errors import DataError
from depthopt.graph.replay import Replay, Wish
from depthopt.rewrite.regression import Regression

HELD_OUT_EVERY, MOST_HELD_OUT = 5, 4
"""Of so many calibration batches, one is held out to choose the regularisation by, but no
more than so many: these are kept in memory, others only where they all fit."""


def accumulate(
    replay: Replay,
    spec: ConvSpec,
    name: str,
    *,
    conv: fx.Node,
    linear: fx.Node,
    adds: int,
    wanted: fx.Node,
) -> tuple[Regression, Tensor, Tensor]:
    """The regression over most batches, and inputs and wanted outputs of those held out.

    Wanted is what brings the *shallow* network's tensor at the end of the segment, its
    residual adds included, closest to the original's.

    Args:
        replay: runs the shallow network and the original, traced, on the calibration images.
        spec: the convolution.
        name: of the regression's one target, and for messages.
        conv: the shallow network's node that reads the inputs; nothing before it changes
            any more.
        linear: its node of the output, before any add: ``conv``, or its norm.
        adds: how many residuals are added to that.
        wanted: the original's node of the tensor behind those adds.

    Raises:
        DataError: there are too few batches to hold one out, or a tensor is not finite.
    """
    source, added = conv.all_input_nodes[0].name, tuple(_added_to(linear, adds))
    regression = Regression(spec, {name: spec.out_channels}, replay.device)
    held_out: list[tuple[Tensor, Tensor]] = []
    wishes = Wish(frozenset({source, *added}), conv), Wish(frozenset({wanted.name}), wanted.next)
    for index, (seen, given) in enumerate(replay(*wishes)):
        inputs, target = seen[source], given[wanted.name]
        for residual in added:
            target = target - seen[residual]
        if not (bool(torch.isfinite(inputs).all()) and bool(torch.isfinite(target).all())):
            raise DataError(
                f"the tensors {source} or {wanted.name} hold NaN or infinite values on "
                "calibration images; check the weights and the images"
            )
        if index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 and len(held_out) < MOST_HELD_OUT:
            held_out.append((inputs, target))
        else:
            regression.add(inputs, {name: target})
    if not held_out:
        raise DataError(
            f"{len(replay)} calibration batches are too few to fit {name}: one in "
            f"{HELD_OUT_EVERY} is held out; give at least {HELD_OUT_EVERY} batches"
        )
    inputs, target = (torch.cat(tensors) for tensors in zip(*held_out, strict=True))
    return regression, inputs, target


def _added_to(node: fx.Node, adds: int) -> Iterator[str]:
    """The names of the tensors that the next ``adds`` additions add to ``node``."""
    for _ in range(adds):
        (user,) = node.users
        left, right = user.all_input_nodes
        yield (right if left is node else left).name
        node = user
