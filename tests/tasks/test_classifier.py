"""The classifier regressed on labels."""

import copy
from functools import cache

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from depthopt.errors import DataError, UsageError
from depthopt.graph.trace import trace
from depthopt.tasks.classifier import regress_classifier

SIZE = (3, 16, 16)
CLASSES = 4


@cache
def traced() -> fx.GraphModule:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=CLASSES, channels=(64, 64, 64, 256))
    return trace(model.double().eval(), SIZE)


def network_of() -> fx.GraphModule:
    return copy.deepcopy(traced())


def batches(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Images whose class is their brightest channel, or the last where all are dark."""
    torch.manual_seed(seed)
    labels = torch.arange(count * 16).reshape(count, 16) % CLASSES
    images = 0.5 * torch.randn(count, 16, *SIZE, dtype=torch.float64)
    shift = torch.cat([torch.eye(3), torch.zeros(1, 3)]).double()
    return list(zip(images + shift[labels][..., None, None], labels, strict=True))


FITTING, HELD_OUT, FRESH = batches(5, 1), batches(2, 2), batches(5, 3)


@torch.no_grad()
def accuracy(network: nn.Module) -> float:
    right = [(network(images).argmax(1) == labels).double().mean() for images, labels in FRESH]
    return 100 * float(torch.stack(right).mean())


def test_a_classifier_that_does_not_suit_its_features_is_put_right() -> None:
    network = network_of()
    others = {k: v.clone() for k, v in network.state_dict().items()}
    before = accuracy(network)
    assert regress_classifier(network, FITTING, HELD_OUT) is not None
    assert accuracy(network) > max(90, before)
    changed = [k for k, v in network.state_dict().items() if not torch.equal(v, others[k])]
    assert len(changed) == 2  # its weight and bias


def test_the_solution_is_where_the_objective_has_no_slope() -> None:
    network = network_of()
    prior = network.fc.weight.detach().clone()
    ridge = regress_classifier(network, FITTING, HELD_OUT, label_smoothing=0.2, ridges=[0.1])
    assert ridge == 0.1
    features: list[Tensor] = []
    network.fc.register_forward_pre_hook(lambda _, args: features.append(args[0].detach()))
    for images, _ in FITTING:
        network(images)
    seen, labels = torch.cat(features), torch.cat([labels for _, labels in FITTING])
    weight, bias = (p.detach().requires_grad_() for p in (network.fc.weight, network.fc.bias))
    objective = F.cross_entropy(F.linear(seen, weight, bias), labels, label_smoothing=0.2)
    objective = objective + 0.1 * seen.square().mean() * (weight - prior).square().sum()
    for slope in torch.autograd.grad(objective, (weight, bias)):
        assert slope.abs().max() < 1e-5


def test_held_out_images_that_lose_by_it_leave_it_as_it_was() -> None:
    network = network_of()
    regress_classifier(network, FITTING, HELD_OUT)
    before = copy.deepcopy(network.state_dict())
    wrong = [(images, (labels + 1) % CLASSES) for images, labels in FITTING]
    assert regress_classifier(network, wrong, HELD_OUT) is None
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_features_that_are_not_finite_leave_it_as_it_was() -> None:
    network = network_of()
    images, labels = FITTING[0]
    assert regress_classifier(network, [(images * torch.inf, labels)], HELD_OUT) is None
    assert torch.equal(network.fc.weight, traced().fc.weight)


def test_what_is_not_one_linear_layer_is_left_alone() -> None:
    network = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).double().eval(), SIZE)
    assert regress_classifier(network, FITTING, HELD_OUT) is None


def test_a_classifier_without_a_bias_stays_without() -> None:
    network = network_of()
    network.fc = nn.Linear(network.fc.in_features, CLASSES, bias=False).double()
    assert regress_classifier(network, FITTING, HELD_OUT) is not None
    assert network.fc.bias is None
    assert accuracy(network) > 90


def test_a_network_in_training_mode_stays_in_it_and_keeps_its_statistics() -> None:
    network = network_of().train()
    mean = network.bn1.running_mean.clone()
    regress_classifier(network, FITTING, HELD_OUT)
    assert network.training
    assert torch.equal(network.bn1.running_mean, mean)


def test_a_network_that_is_not_traced_is_an_error() -> None:
    with pytest.raises(UsageError, match="got a Sequential"):
        regress_classifier(nn.Sequential(nn.Flatten()), FITTING, HELD_OUT)


@pytest.mark.parametrize("empty", [0, 1])
def test_no_images_are_an_error(empty: int) -> None:
    given = [FITTING, HELD_OUT]
    given[empty] = []
    with pytest.raises(DataError, match="no images"):
        regress_classifier(network_of(), *given)
