"""Networks that write in place, in every way that torch has."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.strangers.registry import Classifier, linear_bn, stranger

_WAYS = {}


def way(function):  # type: ignore[no-untyped-def]
    _WAYS[function.__name__] = function
    return function


@way
def augmented(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y += x
    y *= 0.5
    y -= 0.1
    y /= 2
    return F.relu(y, True)


@way
def relu_unassigned(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y.relu_()
    return net.b(y) + x


@way
def module_unassigned(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    net.act(y)
    y = net.b(y) + x
    net.act(y)
    return y


@way
def function_unassigned(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    torch.neg_(y)
    F.leaky_relu(y, 0.1, inplace=True)
    return net.b(y)


@way
def out_argument(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    torch.add(x, y, out=x)
    return net.b(x)


@way
def out_of_other(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    z = torch.empty_like(y)
    torch.mul(x, y, out=z)
    return net.b(z) + y


@way
def skip_is_activated(net: nn.Module, x: Tensor) -> Tensor:
    """NASNet's fault: the ReLU in place changes the skip too."""
    x = net.a(x)
    y = net.b(net.act(x))
    return y + x


@way
def alias(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    out = y
    out += x
    return net.b(out) + y


@way
def scaled_add(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y.add_(x, alpha=0.5).clamp_(min=0).mul_(2)
    y.addcmul_(x, x, value=0.1)
    return net.b(y.add(x, alpha=2))


@way
def item(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x).clone()
    y[:, :4] = x[:, 4:]
    return net.b(y)


@way
def item_of_features(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, 0] = 0
    y[:, 1:3] += 1
    y[:, 3, ::2] *= 2
    return net.b(y) + y


@way
def masked(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y[y < 0] = 0
    y.masked_fill_(y > 2, 2.0)
    return net.b(y)


@way
def temporal_shift(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    out = torch.zeros_like(y)
    out[:, :2, :-1] = y[:, :2, 1:]
    out[:, 2:4, 1:] = y[:, 2:4, :-1]
    out[:, 4:] = y[:, 4:]
    return net.b(out) + x


@way
def view_written(net: nn.Module, x: Tensor) -> Tensor:
    """What is written through a view is read through the whole."""
    y = net.a(x)
    half = y[:, :4]
    half.mul_(2)
    return net.b(y)


@way
def whole_written(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    half = y[:, :4]
    y.mul_(2)
    return net.b(y) + half.mean(1, keepdim=True)


@way
def chunk_written(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    first, second = y.chunk(2, 1)
    first.relu_()
    return net.b(torch.cat([first, second], 1))


@way
def same_view(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    flat = y.view(y.size(0), -1)
    flat.relu_()
    return net.b(flat.view_as(y))


@way
def copied(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    z = torch.empty_like(y).copy_(y)
    z.relu_()
    return net.b(z) + y


@way
def data(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y.data.clamp_(0, 6)
    return net.b(y)


@way
def unsqueezed(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y.unsqueeze_(2).squeeze_(2)
    y.transpose_(2, 3)
    return net.b(y)


@way
def filled(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    y[:, 7].zero_()
    return net.b(y)


@way
def index_written(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    order = torch.tensor([1, 0, 3, 2])
    y.index_add_(1, order, x[:, :4])
    y.index_copy_(1, order, x[:, 4:])
    return net.b(y)


@way
def in_loop(net: nn.Module, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for layer in (net.a, net.b):
        out += layer(x)
    return out


@way
def other_type(net: nn.Module, x: Tensor) -> Tensor:
    """A number of another type is written into a tensor."""
    mask = torch.ones_like(x, dtype=torch.float32)
    mask *= x > 0
    return net.b(net.a(x) * mask)


@way
def logical(net: nn.Module, x: Tensor) -> Tensor:
    mask = x > 0
    mask &= x < 1
    mask |= x > 2
    return net.b(net.a(x) * mask)


@way
def dropped(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    F.dropout(y, 0.3, net.training, inplace=True)
    return net.b(y)


@way
def dropped_by_module(net: nn.Module, x: Tensor) -> Tensor:
    y = net.a(x)
    net.drop(y)
    return net.b(y)


@way
def out_twice(net: nn.Module, x: Tensor) -> Tensor:
    z = torch.empty_like(x)
    torch.add(net.a(x), x, out=z)
    torch.mul(z, x, out=z)
    return net.b(z)


class Written(Classifier):
    """Two convolutions and a way of writing."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.way = linear_bn(8, 8), linear_bn(8, 8), way
        self.act, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.3, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = _WAYS[self.way](self, self.stem(x))
        return self.head(self.neck(x).mean((2, 3)))


for _name in _WAYS:
    stranger(way=_name)(Written)
