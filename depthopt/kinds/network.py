"""What kinds do to networks: one convolution put in, run, and set."""

from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution
from depthopt.errors import ModelError
from depthopt.graph.convolutions import make_conv
from depthopt.kinds.site import New, Site, Weights, module_name
from depthopt.rewrite.regression import Regression, convolve
from depthopt.rewrite.set_weights import fresh_lengths, set_weights


def convolved(candidate: Candidate, weights: Weights, x: Tensor) -> Tensor:
    """What a candidate's operators give for (N, C, H, W), one after another.

    Raises:
        TypeError: one of them is not a convolution; its kind has to run it.
    """
    for operator, (weight, bias) in zip(candidate.operators, weights, strict=True):
        if not isinstance(operator, Convolution):
            raise TypeError(f"{operator} is not a convolution; its kind's output has to run it")
        x = convolve(x, weight, bias, operator)
    return x


def install_convolution(site: Site, candidate: Candidate) -> tuple[fx.Node, New]:
    """A fresh convolution, with a norm of its own where the segment's last block has one.

    The norm trains as those around it do, and is folded in the end as theirs are.
    """
    name, like = module_name(candidate), next(site.network.parameters())
    conv = make_conv(candidate.convolution).to(like).eval()
    node = site.call(name, conv, site.at(candidate.start))
    norm = norm_like(site, candidate)
    if norm is None:
        return node, New(name, name)
    conv.register_parameter("bias", None)
    new = New(name, f"{name}_norm")
    return site.call(new.last, norm, node), new


def norm_like(site: Site, candidate: Candidate) -> nn.BatchNorm2d | None:
    """A fresh norm for behind a replacement, if the segment's last block has one that trains."""
    nodes = {node.name: node for node in site.network.graph.nodes}
    last = nodes[site.chain.blocks[candidate.end - 1].linear]
    norm = dict(site.network.named_modules()).get(str(last.target))
    if not isinstance(norm, nn.BatchNorm2d) or not norm.affine:
        return None
    channels = site.chain.ending(candidate.start, candidate.end).channels
    own = nn.BatchNorm2d(channels, norm.eps, norm.momentum)
    return own.to(next(site.network.parameters())).eval()


def convolution_and_norm(network: nn.Module, new: New) -> tuple[nn.Conv2d, nn.BatchNorm2d | None]:
    """What ``install_convolution`` put in.

    Raises:
        ModelError: the network has something else there.
    """
    conv = network.get_submodule(new.name)
    norm = None if new.last == new.name else network.get_submodule(new.last)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d | None):
        raise ModelError(f"{new.name} is not a convolution that was put in with its norm")
    return conv, norm


def set_convolution(network: nn.Module, new: New, weights: Weights, regression: Regression) -> None:
    """Set a convolution, together with its norm, to compute given weights."""
    ((weight, bias),) = weights
    conv, norm = convolution_and_norm(network, new)
    set_weights(conv, norm, weight, bias, regression, fresh_lengths(conv))
