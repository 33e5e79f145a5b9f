"""Put a convolution or a linear layer into a network, run it, and set its weights."""

from dataclasses import dataclass
from operator import add

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution, Linear, LowRank
from depthopt.errors import ModelError
from depthopt.graph.convolutions import make_conv
from depthopt.kinds.site import New, Site, Weights, module_name
from depthopt.rewrite.factored import composed, scaled
from depthopt.rewrite.regression import Regression, convolve
from depthopt.rewrite.set_weights import fresh_lengths, set_weights


def convolved(candidate: Candidate, weights: Weights, x: Tensor) -> Tensor:
    """Run a candidate's operators on (N, C, H, W), or on tokens (N, T, C), one after another.

    Raises:
        TypeError: one of them is not a convolution or linear; its kind has to run it.
    """
    if candidate.linear is not None:
        *first, (weight, bias) = weights
        y = x
        for front, _ in first:
            y = F.linear(y, front.flatten(1))
        y = F.linear(y, weight.flatten(1), bias)
        return x + y if first else y
    for operator, (weight, bias) in zip(_convolutions(candidate), weights, strict=True):
        x = convolve(x, weight, bias, operator)
    return x


def install_convolution(site: Site, candidate: Candidate) -> tuple[fx.Node, New]:
    """Put in one or two new convolutions, with a norm if the segment's last block has one.

    The norm trains as those around it do, and is folded in the end as theirs are. In the place of
    tokens' blocks it is a linear layer.
    """
    name, like = module_name(candidate), next(site.network.parameters())
    if (linear := candidate.linear) is not None:
        return _install_linear(site, candidate, linear)
    node, norm = site.at(candidate.start), norm_like(site, candidate)
    paths = (name, _second(name))[: len(candidate.operators)]
    for path, operator in zip(paths, _convolutions(candidate), strict=True):
        conv = make_conv(operator).to(like).eval()
        if norm is not None or path != paths[-1]:
            conv.register_parameter("bias", None)
        node = site.call(path, conv, node)
    if norm is None:
        return node, New(name, paths[-1])
    new = New(name, f"{name}_norm")
    return site.call(new.last, norm, node), new


def _install_linear(
    site: Site, candidate: Candidate, linear: Linear | LowRank
) -> tuple[fx.Node, New]:
    """Put in a linear layer of tokens, or two in a row and what they are added to."""
    like, channels = next(site.network.parameters()), linear.out_channels
    name, before = module_name(candidate), site.at(candidate.start)
    if isinstance(linear, Linear):
        layer = nn.Linear(linear.in_channels, channels).to(like).eval()
        return site.call(name, layer, before), New(name, name)
    front = nn.Linear(channels, linear.rank, bias=False).to(like).eval()
    back = nn.Linear(linear.rank, channels).to(like).eval()
    y = site.call(_second(name), back, site.call(name, front, before))
    return site.network.graph.call_function(add, (y, before)), New(name, _second(name))


def _convolutions(candidate: Candidate) -> tuple[Convolution, ...]:
    """A candidate's operators.

    Raises:
        TypeError: one of them is not a convolution; its kind has to deal with it.
    """
    for operator in candidate.operators:
        if not isinstance(operator, Convolution):
            raise TypeError(f"{operator} is not a convolution; its kind has to run it")
    return tuple(each for each in candidate.operators if isinstance(each, Convolution))


def _second(name: str) -> str:
    """Path of the second of two convolutions in a row."""
    return f"{name}_second"


def norm_like(site: Site, candidate: Candidate) -> nn.BatchNorm2d | None:
    """A new norm behind a replacement, if the segment's last block has one that trains."""
    nodes = {node.name: node for node in site.network.graph.nodes}
    last = nodes[site.chain.blocks[candidate.end - 1].linear]
    norm = dict(site.network.named_modules()).get(str(last.target))
    if not isinstance(norm, nn.BatchNorm2d) or not norm.affine:
        return None
    channels = site.chain.ending(candidate.start, candidate.end).channels
    own = nn.BatchNorm2d(channels, norm.eps, norm.momentum)
    return own.to(next(site.network.parameters())).eval()


def convolution_and_norm(network: nn.Module, new: New) -> tuple[nn.Conv2d, nn.BatchNorm2d | None]:
    """The convolution and norm that ``install_convolution`` put in.

    Raises:
        ModelError: the network has something else there.
    """
    conv = network.get_submodule(new.name)
    norm = None if new.last == new.name else network.get_submodule(new.last)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d | None):
        raise ModelError(f"{new.name} is not a convolution that was put in with its norm")
    return conv, norm


def set_convolution(network: nn.Module, new: New, weights: Weights, regression: Regression) -> None:
    """Set what ``install_convolution`` put in so that it computes with the given weights."""
    if len(weights) == 1:
        ((weight, bias),) = weights
        layer = network.get_submodule(new.name)
        if isinstance(layer, nn.Linear):
            _set_linear(layer, weight, bias)
            return
        conv, norm = convolution_and_norm(network, new)
        set_weights(conv, norm, weight, bias, regression, fresh_lengths(conv))
        return
    (first, _), (second, bias) = weights
    layers = [network.get_submodule(path) for path in (new.name, new.last)]
    if isinstance(layers[0], nn.Linear) and isinstance(layers[1], nn.Linear):
        _set_linear(layers[0], first)
        _set_linear(layers[1], second, bias)
        return
    front, _ = convolution_and_norm(network, New(new.name, new.name))
    back, norm = convolution_and_norm(network, New(_second(new.name), new.last))
    first, second = scaled(first.double(), second.double(), fresh_lengths(front))
    with torch.no_grad():
        front.weight.copy_(first)
    set_weights(back, norm, second, bias, _Behind(first, regression), fresh_lengths(back))


@torch.no_grad()
def _set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor | None = None) -> None:
    layer.weight.copy_(weight.flatten(1))
    if bias is not None:
        layer.bias.copy_(bias)


@dataclass(frozen=True, slots=True)
class _Behind:
    """What the second of two convolutions sees, by the sums over the first one's input."""

    first: Tensor
    regression: Regression

    def output_moments(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (out_channels,) of what it gives without bias."""
        return self.regression.output_moments(composed(self.first, weight.double()))
