"""Networks of residual blocks, as people write them."""

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from tests.strangers.registry import Classifier, conv_bn, linear_bn, stranger


class CifarBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.pad = (o - i) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        if not self.pad:
            return x
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad), "constant", 0)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


@stranger()
class CifarResNet(nn.Module):
    """Shortcuts of option A: every second pixel, and channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layers = nn.Sequential(
            CifarBlock(8, 8, 1), CifarBlock(8, 16, 2), CifarBlock(16, 16, 1)
        )
        self.linear = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(F.relu(self.bn1(self.conv1(x))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class PreActivation(nn.Module):
    def __init__(self, i: int, o: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.equal = i == o
        self.convShortcut = None if self.equal else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.equal:
            out = self.relu1(self.bn1(x))
        else:
            x = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(out if self.equal else x)))
        if self.dropout is not None:
            out = self.dropout(out)
        out = self.conv2(out)
        return torch.add(x if self.equal else self.convShortcut(x), out)


@stranger(dropout=0.0)
@stranger(dropout=0.3)
class WideResNet(nn.Module):
    """Norms before convolutions; with dropout, the block of the WideResNet."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)
        self.block1, self.block2 = PreActivation(8, 8, 1, dropout), PreActivation(8, 16, 2, dropout)
        self.bn, self.relu, self.fc = nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn(self.block2(self.block1(self.conv(x)))))
        return self.fc(F.avg_pool2d(out, 8).view(-1, 16))


class Bottleneck(nn.Module):
    def __init__(self, i: int, o: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3, self.bn3 = nn.Conv2d(8, o, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = linear_bn(i, o, 1, stride) if stride > 1 or i != o else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


@stranger(3, 32, 32, groups=1)
@stranger(3, 32, 32, groups=4)
class ResNet50(nn.Module):
    """Bottlenecks behind a strided stem and a pooling; grouped, a ResNeXt."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 16, 1, groups), Bottleneck(16, 16, 1, groups))
        self.layer2 = nn.Sequential(Bottleneck(16, 16, 2, groups))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Res2Block(nn.Module):
    """Each quarter of the channels sees the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(8, 8, 1), linear_bn(8, 8, 1)
        self.convs = nn.ModuleList(conv_bn(2, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(self.a(x), 2, 1)
        outs = [parts[0]]
        for i, conv in enumerate(self.convs):
            outs.append(conv(parts[i + 1] + outs[-1] if i else parts[1]))
        return F.relu(self.b(torch.cat(outs, 1)) + x)


@stranger()
class Res2Net(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Res2Block(), Res2Block())


class ScaledBlock(nn.Module):
    def __init__(self, scale: str) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(8, 8), linear_bn(8, 8)
        shapes = {"rezero": (1,), "scalar": (), "layerscale": (8, 1, 1)}
        self.scale = nn.Parameter(torch.zeros(shapes[scale]))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.conv2(self.conv1(x))


@stranger(scale="rezero")
@stranger(scale="scalar")
@stranger(scale="layerscale")
class ScaledResidual(Classifier):
    """The branch is scaled by what is learnt."""

    def __init__(self, scale: str) -> None:
        super().__init__()
        self.body = nn.Sequential(ScaledBlock(scale), ScaledBlock(scale))


@stranger()
class ConstantlyScaled(Classifier):
    """Inception-ResNet: the branch is scaled by a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(8, 8), linear_bn(8, 8)

    def block(self, x: Tensor) -> Tensor:
        return F.relu(x + 0.17 * self.conv2(self.conv1(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.neck(self.block(self.stem(x))).mean((2, 3)))


class ConvNextBlock(nn.Module):
    """Depthwise, norm over channels that come last, and linear layers."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8, 1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)
        self.gamma = nn.Parameter(1e-6 * torch.ones(8))
        self.drop_path = DropPath(drop) if drop > 0.0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        input_ = x
        x = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        x = self.gamma * self.pwconv2(self.act(self.pwconv1(x)))
        return input_ + self.drop_path(x.permute(0, 3, 1, 2))


@stranger(drop=0.0)
@stranger(drop=0.2)
class ConvNext(Classifier):
    def __init__(self, drop: float) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNextBlock(drop), ConvNextBlock(drop))


class Fractal(nn.Module):
    """The mean of a shallow and of a deep branch."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.short = conv_bn(8, 8)
        self.long = nn.Sequential(Fractal(depth - 1), Fractal(depth - 1)) if depth else None

    def forward(self, x: Tensor) -> Tensor:
        if self.long is None:
            return self.short(x)
        return torch.stack([self.short(x), self.long(x)]).mean(0)


@stranger()
class FractalNet(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.body = Fractal(2)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.h, self.t = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        t = torch.sigmoid(self.t(x))
        return torch.relu(self.h(x)) * t + x * (1 - t)


@stranger()
class Highway(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Gate(), Gate())


class OwnDropPath(nn.Module):
    """As on many pages: drops branches of single images."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1 - self.p
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        mask = keep + torch.rand(shape, dtype=x.dtype, device=x.device)
        return x.div(keep) * mask.floor_()


class ScheduledDrop(nn.Module):
    """Drops more with each step of training, as DropBlock's schedule has it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.steps += 1
        return x * (torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype) > 0.1 * self.steps)


class Dropped(nn.Module):
    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.branch, self.drop = nn.Sequential(conv_bn(8, 8), linear_bn(8, 8)), drop

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.drop(self.branch(x)))


_DROPS = {
    "torchvision": lambda: StochasticDepth(0.4, "row"),
    "batch": lambda: StochasticDepth(0.4, "batch"),
    "timm": lambda: DropPath(0.4),
    "own": lambda: OwnDropPath(0.4),
    "scheduled": ScheduledDrop,
    "channels": lambda: nn.Dropout2d(0.4),
    "inplace": lambda: nn.Dropout(0.4, inplace=True),
}


@stranger(drop="torchvision")
@stranger(drop="batch")
@stranger(drop="timm")
@stranger(drop="own")
@stranger(drop="scheduled")
@stranger(drop="channels")
@stranger(drop="inplace")
class StochasticResNet(Classifier):
    """Branches are dropped at random in training."""

    def __init__(self, drop: str) -> None:
        super().__init__()
        self.body = nn.Sequential(Dropped(_DROPS[drop]()), Dropped(_DROPS[drop]()))


class Skipping(nn.Module):
    """Leaves its branch out, at random, in training."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv_bn(8, 8), linear_bn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(1).item() < 0.5:
            return x
        return x + self.branch(x)


@stranger()
class LayerDrop(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Skipping(), Skipping())


@stranger(positional=True)
@stranger(positional=False)
class FunctionalDropout(Classifier):
    def __init__(self, positional: bool) -> None:
        super().__init__()
        self.conv, self.positional = conv_bn(8, 8), positional

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.stem(x))
        if self.positional:
            x = F.dropout(x, 0.3, self.training)
        else:
            x = F.dropout2d(x, p=0.3, training=self.training)
        x = self.neck(x).mean((2, 3))
        return self.head(F.dropout(x, training=self.training, inplace=True))


@stranger()
class AppliedThrice(Classifier):
    """One block, three times, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(conv_bn(8, 8), linear_bn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + self.block(x)
        return self.head(self.neck(x).mean((2, 3)))


@stranger()
class TiedParameter(Classifier):
    """Two convolutions hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(8, 8), conv_bn(8, 8), conv_bn(8, 8))
        self.body[1][0].weight = self.body[0][0].weight


@stranger()
class SharedNorm(Classifier):
    """Two convolutions, one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.a(self.stem(x))))
        x = F.relu(self.bn(self.b(x)))
        return self.head(self.neck(x).mean((2, 3)))


@stranger()
class UsedTwice(Classifier):
    """A convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(8, 8, 3, 1, 1), conv_bn(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.conv(F.relu(self.conv(x))))
        return self.head(self.neck(self.last(x)).mean((2, 3)))


@stranger()
class TwoNames(Classifier):
    """A module registered under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv_bn(8, 8)
        self.again, self.body = self.first, nn.Sequential(self.first, conv_bn(8, 8))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        convs = (nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.branch, self.reentrant = nn.Sequential(*convs), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + checkpoint(self.branch, x, use_reentrant=self.reentrant))


@stranger(reentrant=False)
@stranger(reentrant=True)
class Checkpoints(Classifier):
    """Blocks whose values are computed again for gradients; norms in them would see each twice."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(Checkpointed(reentrant=reentrant), conv_bn(8, 8))


class IfTraining(nn.Module):
    """Checkpoints in training alone, as timm and DenseNet do."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv_bn(8, 8), linear_bn(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.requires_grad:
            return x + checkpoint(self.branch, x, use_reentrant=False)
        return x + self.branch(x)


@stranger()
class CheckpointsInTraining(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(IfTraining(), conv_bn(8, 8))


@stranger()
class Mixer(Classifier):
    """ConvMixer: the residual is a lambda's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.GELU(), nn.BatchNorm2d(8))
        self.body = nn.Sequential(*(self._layer() for _ in range(2)))

    @staticmethod
    def _layer() -> nn.Sequential:
        depthwise = (nn.Conv2d(8, 8, 5, groups=8, padding="same"), nn.GELU(), nn.BatchNorm2d(8))
        pointwise = (nn.Conv2d(8, 8, 1), nn.GELU(), nn.BatchNorm2d(8))
        return nn.Sequential(Added(nn.Sequential(*depthwise)), *pointwise)


class Added(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class IfEqual(nn.Module):
    """Adds where shapes agree, as asked of the tensors themselves."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv_bn(i, o), linear_bn(o, o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if x.shape == y.shape:
            y = y + x
        return y


@stranger()
class AddsIfEqual(Classifier):
    def __init__(self) -> None:
        super().__init__(16)
        self.body = nn.Sequential(IfEqual(8, 8), IfEqual(8, 16))
