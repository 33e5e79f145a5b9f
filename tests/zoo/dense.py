"""Networks that give images, or several tensors: a restorer, a detector's heads."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, its norm and its activation."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.SiLU())


class EDSR(nn.Module):
    """Residual blocks without norms, a skip around all of them, and twice the size at the end."""

    def __init__(self, width: int = 12, blocks: int = 4, scale: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.behind = nn.Conv2d(width, width, 3, padding=1)
        self.tail = nn.Sequential(
            nn.Conv2d(width, width * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.head(x)
        for block in self.blocks:
            x = x + 0.1 * block(x)
        found: Tensor = self.tail(first + self.behind(x))
        return found


class CSP(nn.Module):
    """Half of the channels through residual blocks, and all joined behind (arXiv 1911.11929)."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        half = channels // 2
        self.one, self.other = conv(channels, half, 1), conv(channels, half, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(half, half, 1), conv(half, half)) for _ in range(blocks)
        )
        self.join = conv(2 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        for block in self.blocks:
            y = y + block(y)
        found: Tensor = self.join(torch.cat([y, self.other(x)], 1))
        return found


class SPPF(nn.Module):
    """Poolings one behind another, all joined, as YOLOv5 has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.behind = conv(channels, channels // 2, 1), conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.before(x)]
        for _ in range(3):
            found.append(F.max_pool2d(found[-1], 5, 1, 2))
        joined: Tensor = self.behind(torch.cat(found, 1))
        return joined


class Yolo(nn.Module):
    """Three heads on features of three sizes, which go up and come down again."""

    def __init__(self, width: int = 8, blocks: int = 1, outputs: int = 9) -> None:
        super().__init__()
        w = [width * 2**i for i in range(4)]
        self.stem = nn.Sequential(conv(3, w[0], 3, 2), conv(w[0], w[1], 3, 2), CSP(w[1], blocks))
        self.mid = nn.Sequential(conv(w[1], w[2], 3, 2), CSP(w[2], blocks))
        self.deep = nn.Sequential(conv(w[2], w[3], 3, 2), CSP(w[3], blocks), SPPF(w[3]))
        self.lateral = nn.ModuleList([conv(w[3], w[2], 1), conv(w[2], w[1], 1)])
        self.up = nn.ModuleList([self._merge(2 * w[2], w[2]), self._merge(2 * w[1], w[1])])
        self.down = nn.ModuleList([conv(w[1], w[1], 3, 2), conv(w[2], w[2], 3, 2)])
        self.out = nn.ModuleList([self._merge(w[1] + w[2], w[2]), self._merge(w[2] + w[3], w[3])])
        self.heads = nn.ModuleList(nn.Conv2d(c, outputs, 1) for c in w[1:])

    @staticmethod
    def _merge(before: int, after: int) -> nn.Module:
        return nn.Sequential(conv(before, after, 1), CSP(after, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        large = self.stem(x)
        mid = self.mid(large)
        deep = self.deep(mid)
        mid = self.up[0](torch.cat([mid, F.interpolate(self.lateral[0](deep), scale_factor=2)], 1))
        large = self.up[1](
            torch.cat([large, F.interpolate(self.lateral[1](mid), scale_factor=2)], 1)
        )
        mid = self.out[0](torch.cat([mid, self.down[0](large)], 1))
        deep = self.out[1](torch.cat([deep, self.down[1](mid)], 1))
        return [head(y) for head, y in zip(self.heads, (large, mid, deep), strict=True)]


def yolo() -> nn.Module:
    """One of a size that is worth timing."""
    return Yolo(width=16, blocks=2).eval()
