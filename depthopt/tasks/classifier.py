"""Regress the classifier on labels, for the features of a shallow network.

``min mean cross entropy(y, W x + b) + ridge s |W - W0|^2`` over training images, with y their
smoothed labels, x the features as they are now, s the features' mean square, and W0 the weight
that the classifier has: multinomial logistic regression drawn to the original's answer, a convex
problem. Finetuning that begins from there does not tear the features about for the sake of a
classifier that does not suit them (Kumar et al., "Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution", ICLR 2022, https://arxiv.org/abs/2202.10054).
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, fx, nn

from depthopt.core.inputs import called, moved
from depthopt.core.workload import Workload
from depthopt.data.dataset import Batch
from depthopt.errors import DataError, UsageError
from depthopt.graph.heap import kept_heap
from depthopt.graph.plain import is_plain
from depthopt.graph.shared import shared_weights

_ITERATIONS = 100

RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3)
"""Strengths of regularisation; relative to the mean square of the classifier's inputs. Strongest
first."""

Batches = Iterable[Batch]
_Linear = tuple[Tensor, Tensor]
"""Weight (classes, features) and bias (classes,)."""


@kept_heap()
def regress_classifier(
    network: fx.GraphModule,
    fitting: Batches,
    held_out: Batches,
    *,
    label_smoothing: float = 0.1,
    ridges: Iterable[float] = RIDGES,
) -> float | None:
    """Regress a network's classifier on labels in place, if that is better on held-out images.

    Nothing but this one layer changes, and no step of a training is done.

    Args:
        network: a traced network; its features are read in eval mode. Where what it returns is
            not what one linear layer gives, nothing is done.
        fitting: batches of images (N, C, H, W), or named inputs, and labels (N,) to regress on.
        held_out: batches to choose the ridge on, by the same cross entropy.
        label_smoothing: of the labels, in [0, 1): that of the training before or behind it.
        ridges: strengths to try, strongest first, until held-out images gain no more.

    Returns:
        The ridge chosen; None where the classifier is left as it was, as where features are not
        finite.

    Raises:
        UsageError: the network is not a traced one.
        DataError: there are no images.
    """
    if not isinstance(network, fx.GraphModule):
        raise UsageError(
            f"regress_classifier got a {type(network).__name__}; give it what apply returns"
        )
    layer = _classifier(network)
    if layer is None:
        return None
    features, labels = _features(network, layer, fitting)
    seen, wanted = _features(network, layer, held_out)
    if not len(labels) or not len(wanted):
        raise DataError(
            "there are no images to regress the classifier on; give fitting and held_out some"
        )
    if not bool(torch.isfinite(features).all()):
        return None
    biased = layer.bias is not None
    best = solution = _linear(layer)
    problem = _Problem(features, labels, label_smoothing, solution[0], biased=biased)
    least, chosen = _loss(seen, wanted, solution, label_smoothing), None
    for ridge in sorted(ridges, reverse=True):
        solution = problem.solve(ridge, begin=solution)
        loss = _loss(seen, wanted, solution, label_smoothing)
        if not loss < least:
            break
        best, least, chosen = solution, loss, ridge
    if chosen is not None:
        _set(layer, *best)
    return chosen


def classifier_workload(fitting: int, held_out: int) -> Workload:
    """The work of reading the features of this many images, without solving."""
    return Workload(forward_images=fitting + held_out)


def _classifier(network: fx.GraphModule) -> nn.Linear | None:
    """The linear layer whose output is the network's, if its weights are its own."""
    output = next(node for node in network.graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node) or output.op != "call_module":
        return None
    layer, calls = network.get_submodule(str(output.target)), network.graph.nodes
    own = str(output.target) not in shared_weights(network) and is_plain(layer, nn.Linear)
    once = sum(node.target == output.target for node in calls) == 1
    return layer if isinstance(layer, nn.Linear) and own and once else None


def _linear(layer: nn.Linear) -> _Linear:
    """Its weight and bias, in float64."""
    weight = layer.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
    return weight, bias


@torch.no_grad()
def _features(network: nn.Module, layer: nn.Linear, batches: Batches) -> tuple[Tensor, Tensor]:
    """What the classifier sees (N, features), and the labels (N,)."""
    was_training, device = network.training, layer.weight.device
    network.eval()
    found: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: found.append(args[0].double()))
    try:
        labels = []
        for inputs, answers in batches:
            if answers is None:
                raise DataError("the classifier is regressed on labels, and some images have none")
            called(network, moved(inputs, layer.weight))
            labels.append(answers.to(device))
    finally:
        hook.remove()
        network.train(was_training)
    if not labels:
        return layer.weight.new_zeros(0, layer.in_features), torch.zeros(0, device=device)
    return torch.cat(found), torch.cat(labels)


def _loss(features: Tensor, labels: Tensor, linear: _Linear, smoothing: float) -> Tensor:
    weight, bias = linear
    logits = (weight @ features.T).T + bias  # twice as quick as F.linear where classes are few
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


class _Problem:
    """The regression, but for its ridge.

    It is solved in coordinates in which it curves about as much in every direction: the curvature
    of the cross entropy is about the centred features' covariance over the number of classes, where
    these are as likely. L-BFGS comes to the same minimum there in a quarter of the evaluations.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, smoothing: float, prior: Tensor, *, biased: bool
    ) -> None:
        """Find the coordinates.

        Args:
            features: (N, features).
            labels: (N,).
            smoothing: of the labels.
            prior: the weight that the solution is drawn to, (classes, features).
            biased: whether there is a bias; nothing draws it.
        """
        self._labels, self._smoothing, self._prior, self._biased = labels, smoothing, prior, biased
        self._size = features.square().mean()
        self._mean = features.mean(0) if biased else features.new_zeros(features.shape[1])
        centred = features - self._mean
        squares, self._basis = torch.linalg.eigh(centred.T @ centred / len(features))
        self._curvature = squares.clamp_min(0) / len(prior)
        self._rotated = centred @ self._basis

    def solve(self, ridge: float, *, begin: _Linear) -> _Linear:
        """The minimum, by L-BFGS; where the iterations run out, what they came to."""
        strength = ridge * self._size
        scale = (self._curvature + 2 * strength).clamp_min(1e-30).rsqrt()  # features may be 0
        bias_scale = len(self._prior) ** 0.5
        prior = self._prior @ self._basis
        away = ((begin[0] @ self._basis - prior) / scale).requires_grad_()
        shift = ((begin[1] + begin[0] @ self._mean) / bias_scale).requires_grad_(self._biased)
        optimizer = torch.optim.LBFGS(
            [away, shift] if self._biased else [away],
            max_iter=_ITERATIONS,
            history_size=10,
            tolerance_grad=1e-6,
            tolerance_change=1e-8,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            linear = prior + scale * away, bias_scale * shift
            drawn: Tensor = strength * (scale * away).square().sum()
            loss = _loss(self._rotated, self._labels, linear, self._smoothing) + drawn
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(objective)  # type: ignore[no-untyped-call]
        weight: Tensor = self._prior + (scale * away.detach()) @ self._basis.T
        return weight, bias_scale * shift.detach() - weight @ self._mean


@torch.no_grad()
def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.copy_(bias)
