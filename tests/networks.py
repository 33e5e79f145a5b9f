"""Small networks with norms that are not fresh: fresh norms hide errors."""

import torch
from torch import Tensor, nn


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode, with random norm statistics and affine parameters."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return model.eval()


class Residual(nn.Module):
    """A stem, an identity block, a projection block, a linear bottleneck, and a head."""

    def __init__(self, channels: int = 4, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        c = channels
        self.stem = self._conv(2, c, 3, 1)
        self.a1, self.a2 = self._conv(c, c, 3, 1), self._conv(c, c, 3, 1, act=False)
        self.b1, self.b2 = self._conv(c, 2 * c, 3, 2), self._conv(2 * c, 2 * c, 3, 1, act=False)
        self.bp = self._conv(c, 2 * c, 1, 2, act=False)
        self.c1 = self._conv(2 * c, 4 * c, 1, 1)
        self.c2 = self._conv(4 * c, 4 * c, 3, 1, groups=4 * c)
        self.c3 = self._conv(4 * c, 2 * c, 1, 1, act=False)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(2 * c, classes)
        randomised(self, seed)

    @staticmethod
    def _conv(i: int, o: int, k: int, s: int, *, act: bool = True, groups: int = 1) -> nn.Module:
        layers = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
        return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if act else []))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.act(self.a2(self.a1(x)) + x)
        main = self.b2(self.b1(x))
        main += self.bp(x)
        x = self.act(main)
        x = self.c3(self.c2(self.c1(x))) + x
        return self.head(x.mean((2, 3)))
