"""Networks given in memory: their names, and copies of them."""

from functools import partial

import pytest
import torch
from torch import nn

from depthopt.errors import ModelError
from depthopt.models.memory import copy_of, made_from, memory_name
from depthopt.models.registry import create_model, model_arguments
from tests.networks import Residual, randomised


def network(seed: int = 0) -> nn.Module:
    return randomised(Residual(), seed)


def test_a_name_is_of_structure_and_state() -> None:
    name = memory_name(network())
    assert name.startswith("memory:Residual-")
    assert len(name.rpartition("-")[2]) == 12
    assert memory_name(network()) == name
    assert memory_name(torch.nn.DataParallel(network())) == name
    assert memory_name(network(1)) != name
    strided = network()
    next(m for m in strided.modules() if isinstance(m, nn.Conv2d)).stride = (3, 3)
    assert memory_name(strided) != name


def test_a_copy_is_a_network_of_its_own_that_can_be_trained() -> None:
    given = network().requires_grad_(requires_grad=False)
    copied = copy_of(given, {})
    assert all(parameter.requires_grad for parameter in copied.parameters())
    assert not any(parameter.requires_grad for parameter in given.parameters())
    assert not copied.training
    for ours, theirs in zip(copied.parameters(), given.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() != theirs.data_ptr()


def test_a_head_of_another_width_is_replaced_in_the_copy_alone() -> None:
    given = create_model("small:residual", {"channels": 1, "outputs": 4})
    arguments = model_arguments(memory_name(given), (1, 16, 16), 6)
    assert made_from(given, arguments).fc.out_features == 6
    assert given.fc.out_features == 4
    build = partial(create_model, "small:residual", {"channels": 1, "outputs": 4})
    assert made_from(build, arguments).fc.out_features == 6


def test_a_name_alone_makes_none() -> None:
    with pytest.raises(ModelError, match=r"memory:Net-1 was given in memory, .* give it again"):
        create_model("memory:Net-1", {})
