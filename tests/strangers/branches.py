"""Networks whose paths part and meet."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.strangers.registry import Classifier, conv_bn, linear_bn, stranger


class InceptionV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b1 = conv_bn(8, 4, 1)
        self.b2 = nn.Sequential(conv_bn(8, 4, 1), conv_bn(4, 4, 3))
        self.b3 = nn.Sequential(conv_bn(8, 4, 1), conv_bn(4, 4, 5))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class BasicConv(nn.Module):
    """As in torchvision's Inception-v3: a ReLU in place, and a norm's eps of its own."""

    def __init__(self, i: int, o: int, **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, bias=False, **options)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(o, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionV3(nn.Module):
    """Asymmetric kernels, an average pooling's branch, and outputs that part again."""

    def __init__(self) -> None:
        super().__init__()
        self.a = BasicConv(8, 4, kernel_size=1)
        self.b1 = BasicConv(4, 4, kernel_size=(1, 7), padding=(0, 3))
        self.b2 = BasicConv(4, 4, kernel_size=(7, 1), padding=(3, 0))
        self.c1 = BasicConv(4, 4, kernel_size=(1, 3), padding=(0, 1))
        self.c2 = BasicConv(4, 4, kernel_size=(3, 1), padding=(1, 0))
        self.pool = BasicConv(8, 4, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.b2(self.b1(self.a(x)))
        both = torch.cat([self.c1(branch), self.c2(branch)], 1)
        pooled = self.pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        return torch.cat([branch, both, pooled], 1)


class DenseLayer(nn.Module):
    def __init__(self, i: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(i), nn.ReLU(inplace=True)
        self.conv, self.drop = nn.Conv2d(i, 4, 3, 1, 1, bias=False), 0.2

    def forward(self, features: list[Tensor]) -> Tensor:
        new = self.conv(self.relu(self.norm(torch.cat(features, 1))))
        return F.dropout(new, p=self.drop, training=self.training)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(8 + 4 * i) for i in range(2))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


class UNet(nn.Module):
    """Down, and up again beside what came before."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.down1, self.down2, self.mid = conv_bn(8, 8), conv_bn(8, 16), conv_bn(16, 16)
        self.pool = nn.MaxPool2d(2, 2)
        self.up2 = self._up(up, 16, 8)
        self.dec2, self.dec1 = conv_bn(24, 8), conv_bn(16, 16)

    @staticmethod
    def _up(up: str, i: int, o: int) -> nn.Module:
        if up == "transposed":
            return nn.ConvTranspose2d(i, o, 2, 2)
        return nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(i, o, 1))

    def forward(self, x: Tensor) -> Tensor:
        d1 = self.down1(x)
        d2 = self.down2(self.pool(d1))
        up = self.up2(self.mid(self.pool(d2)))
        u2 = self.dec2(torch.cat([up, d2], dim=1))
        u1 = F.interpolate(u2, size=d1.shape[2:], mode="bilinear", align_corners=False)
        return self.dec1(torch.cat([u1, d1], 1))


def shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.data.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class ShuffleV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            conv_bn(8, 8, 1, g=2),
            linear_bn(8, 8, g=8),
            linear_bn(8, 8, 1, g=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.b(shuffle(self.a(x), 2))
        return F.relu(self.c(out) + x, inplace=True)


class ShuffleV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv_bn(4, 4, 1), linear_bn(4, 4, g=4), conv_bn(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        return shuffle(torch.cat((x1, self.branch(x2)), dim=1), 2)


class RepVGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rbr_dense, self.rbr_1x1 = linear_bn(8, 8), linear_bn(8, 8, 1)
        self.rbr_identity, self.nonlinearity = nn.BatchNorm2d(8), nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        if hasattr(self, "rbr_reparam"):
            return self.nonlinearity(self.rbr_reparam(inputs))
        out = 0 if self.rbr_identity is None else self.rbr_identity(inputs)
        return self.nonlinearity(self.rbr_dense(inputs) + self.rbr_1x1(inputs) + out)


class ACBlock(nn.Module):
    """A square, a wide and a high kernel, added."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.bn = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.wide = nn.Sequential(nn.Conv2d(8, 8, (1, 3), 1, (0, 1), bias=False), nn.BatchNorm2d(8))
        self.high = nn.Sequential(nn.Conv2d(8, 8, (3, 1), 1, (1, 0), bias=False), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.square(x)) + self.wide(x) + self.high(x))


class MobileOne(nn.Module):
    """Many branches of one kind, added in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.skip, self.scale = nn.BatchNorm2d(8), linear_bn(8, 8, 1, g=8)
        self.convs = nn.ModuleList(linear_bn(8, 8, 3, g=8) for _ in range(3))
        self.point = conv_bn(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.skip(x) + self.scale(x)
        for conv in self.convs:
            out += conv(x)
        return self.point(F.relu(out))


class Octave(nn.Module):
    """Half of the channels at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.hh, self.hl, self.lh, self.ll = (nn.Conv2d(4, 4, 3, 1, 1) for _ in range(4))
        self.bn_h, self.bn_l = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        h, l = x[:, :4], F.avg_pool2d(x[:, 4:], 2)  # noqa: E741 - the paper's name
        high = self.hh(h) + F.interpolate(self.lh(l), scale_factor=2, mode="nearest")
        low = self.ll(l) + self.hl(F.avg_pool2d(h, 2))
        high, low = F.relu(self.bn_h(high)), F.relu(self.bn_l(low))
        return torch.cat([high, F.interpolate(low, scale_factor=2)], 1)


class Ghost(nn.Module):
    """Half of the channels by cheap operations; what is too much is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.primary, self.cheap = conv_bn(8, 5, 1), conv_bn(5, 5, 3, g=5)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary(x)
        return torch.cat([x1, self.cheap(x1)], dim=1)[:, :8, :, :]


class Fire(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.act = nn.Conv2d(8, 4, 1), nn.ReLU(inplace=True)
        self.expand1, self.expand3 = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1(x)), self.act(self.expand3(x))], 1)


class MixConv(nn.Module):
    """Kernels of several sizes over parts of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.splits = [3, 3, 2]
        sizes = zip(self.splits, (3, 5, 7), strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(c, c, k, 1, k // 2, groups=c) for c, k in sizes)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.splits, 1)
        return torch.cat([c(p) for c, p in zip(self.convs, parts, strict=True)], 1)


class ASPP(nn.Module):
    """Dilated kernels, and an image's mean spread over it."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 4, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(4))
            for d in (1, 2, 4)
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        outs = [F.relu(conv(x)) for conv in self.convs]
        size = x.shape[-2:]
        outs.append(F.interpolate(self.pool(x), size=size, mode="bilinear", align_corners=False))
        return torch.cat(outs, dim=1)


class HighResolution(nn.Module):
    """Two resolutions that exchange what they know."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.keep, self.low = linear_bn(8, 8, 3, 2), conv_bn(8, 8), conv_bn(8, 8)
        self.up = nn.Sequential(*linear_bn(8, 8, 1), nn.Upsample(scale_factor=2, mode="nearest"))

    def forward(self, x: Tensor) -> Tensor:
        y = [self.keep(x), self.low(F.relu(self.down(x)))]
        fused = [F.relu(y[0] + self.up(y[1])), F.relu(self.down(y[0]) + y[1])]
        return fused[0] + F.interpolate(fused[1], size=list(fused[0].shape[-2:]))


class SumOfList(nn.Module):
    """``sum`` begins with a zero."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_bn(8, 8, k) for k in (1, 3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches) / len(self.branches)


class CrossStage(nn.Module):
    """CSP: half of the channels goes past the block."""

    def __init__(self) -> None:
        super().__init__()
        self.part1, self.part2 = conv_bn(8, 4, 1), conv_bn(8, 4, 1)
        self.block = nn.Sequential(conv_bn(4, 4), conv_bn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.part2(x)
        return torch.cat((self.part1(x), y + self.block(y)), dim=1)


_OUT = {"InceptionV1": 16, "InceptionV3": 16, "Dense": 16, "UNet": 16, "ASPP": 16}


@stranger(block=InceptionV1)
@stranger(block=InceptionV3)
@stranger(block=Dense)
@stranger(block=ShuffleV1)
@stranger(block=ShuffleV2)
@stranger(block=RepVGG)
@stranger(block=ACBlock)
@stranger(block=MobileOne)
@stranger(block=Octave)
@stranger(block=Ghost)
@stranger(block=Fire)
@stranger(block=MixConv)
@stranger(block=ASPP)
@stranger(block=HighResolution)
@stranger(block=SumOfList)
@stranger(block=CrossStage)
class Branching(Classifier):
    """One block between two convolutions; a second one where it keeps the channels."""

    def __init__(self, block: type[nn.Module]) -> None:
        out = _OUT.get(block.__name__, 8)
        super().__init__(out)
        self.body = nn.Sequential(*(block() for _ in range(1 if out != 8 else 2)))


@stranger(up="nearest")
@stranger(up="bilinear")
@stranger(up="transposed")
class UNetClassifier(Classifier):
    def __init__(self, up: str) -> None:
        super().__init__(16)
        self.body = UNet(up)


@stranger(3, 32, 32)
class SpatialPyramid(nn.Module):
    """A stem of several strides, and poolings of several sizes, flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem1, self.stem2 = conv_bn(3, 8, 7, 4), conv_bn(3, 8, 3, 2)
        self.merge, self.body = conv_bn(16, 8), conv_bn(8, 8)
        self.fc = nn.Linear(8 * (16 + 4 + 1), 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.stem1(x), F.max_pool2d(self.stem2(x), 3, 2, 1)], 1)
        x = self.body(self.merge(x))
        pooled = [F.adaptive_max_pool2d(x, size).flatten(1) for size in (4, 2, 1)]
        return self.fc(torch.cat(pooled, 1))


@stranger(3, 32, 32)
class Pyramid(nn.Module):
    """FPN: levels by name, added from the top down."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({f"c{i}": conv_bn(8 if i else 3, 8, 3, 2) for i in range(3)})
        self.lateral = nn.ModuleDict({name: nn.Conv2d(8, 8, 1) for name in self.stages})
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        levels = {}
        for name, stage in self.stages.items():
            x = stage(x)
            levels[name] = x
        names, pooled = list(levels), []
        top = self.lateral[names[-1]](levels[names[-1]])
        for name in reversed(names[:-1]):
            pooled.append(top.mean((2, 3)))
            top = self.lateral[name](levels[name]) + F.interpolate(top, scale_factor=2)
        return self.head(torch.cat([*pooled, top.mean((2, 3))], 1))
