"""Networks compressed by a random plan, with what they are made of and what was before."""

from collections.abc import Iterable
from typing import Any

import timm
import torch
from torch import Tensor

from depthopt.core.plan import Plan
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.networks import randomised
from tests.plans import random_plan


def compressed(
    name: str,
    size: tuple[int, int, int],
    images: Iterable[Tensor],
    *,
    kernel_sizes: tuple[int, ...],
    seed: int,
    **arguments: Any,
) -> tuple[TracedNetwork, Plan]:
    """A timm network of 10 classes under a random plan, regressed on images, and merged.

    What timm takes beside its name may be given, such as channels for a narrower one.

    Regressed networks answer as unlike images as the original does; those with fresh
    convolutions answer all alike, and would be equal to much.
    """
    torch.manual_seed(0)
    model = randomised(timm.create_model(name, num_classes=10, **arguments))
    chain = extract(model, size, name=name)
    found = candidates(chain, kinds=("drop", "fit", "merge"), kernel_sizes=kernel_sizes)
    plan = random_plan(chain, found, seed)
    return fuse(apply(model, chain, plan, fitting=images, compensated=False)), plan
