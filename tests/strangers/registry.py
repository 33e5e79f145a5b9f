"""Where the networks of strangers are kept: by name, with how each is made and its input's size."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=type[nn.Module])
Size = tuple[int, int, int]

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Size]] = {}
"""How a network is made, and (C, H, W)."""


def stranger(*sizes: int, **options: object) -> Callable[[N], N]:
    """Register a class under its name, made with these options; 3x16x16 unless told."""

    def registered(cls: N) -> N:
        called = "_".join([cls.__name__, *(_text(value) for value in options.values())])
        size = tuple(sizes) or (3, 16, 16)
        assert len(size) == 3
        assert called not in NETWORKS
        NETWORKS[called] = (lambda: cls(**options), size)
        return cls

    return registered


def _text(value: object) -> str:
    return str(getattr(value, "__name__", value))


def made(name: str) -> tuple[nn.Module, Size]:
    """A network in float64, in evaluation mode, and its input's size; nothing in it is fresh."""
    factory, size = NETWORKS[name]
    torch.manual_seed(0)
    return unlike_fresh(factory()), size


@torch.no_grad()
def unlike_fresh(network: nn.Module) -> nn.Module:
    """Random norm statistics, and no parameter that is constant: zeros and ones hide errors."""
    network = network.double().eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.numel() and bool(parameter.min() == parameter.max()):
            parameter.uniform_(0.5, 1.5, generator=generator)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return network


def image(size: Size, *, seed: int = 0, batch: int = 2) -> Tensor:
    """A seeded batch in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *size), generator=generator, dtype=torch.float64)


def conv_bn(i: int, o: int, k: int = 3, s: int = 1, g: int = 1) -> nn.Sequential:
    """A convolution, its norm and a ReLU in place."""
    conv = nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU(inplace=True))


def linear_bn(i: int, o: int, k: int = 3, s: int = 1, g: int = 1) -> nn.Sequential:
    """A convolution and its norm."""
    return nn.Sequential(*conv_bn(i, o, k, s, g)[:2])


class Classifier(nn.Module):
    """A stem, a body that a subclass sets, and a head."""

    width = 8
    body: nn.Module

    def __init__(self, out: int = 8) -> None:
        super().__init__()
        self.stem = conv_bn(3, self.width)
        self.neck = conv_bn(out, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.neck(self.body(self.stem(x)))
        return self.head(x.mean((2, 3)))
