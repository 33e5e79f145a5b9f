"""Networks that weigh channels, places or branches by what they hold."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.strangers.registry import Classifier, conv_bn, linear_bn, stranger


class SE(nn.Module):
    """Squeeze and excitation by linear layers."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(c, 4, bias=False), nn.ReLU(inplace=True), nn.Linear(4, c, bias=False),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class ConvSE(nn.Module):
    """The same by convolutions, in place."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, 4, 1), nn.Conv2d(4, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = F.adaptive_avg_pool2d(x, 1)
        scale = F.relu(self.fc1(scale), inplace=True)
        scale = F.hardsigmoid(self.fc2(scale), inplace=True)
        x *= scale
        return x


class CBAM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        avg = F.avg_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3)))
        top = F.max_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3)))
        scale = torch.sigmoid(self.mlp(avg) + self.mlp(top)).unsqueeze(2).unsqueeze(3)
        x = x * scale.expand_as(x)
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.spatial(pooled))


class ECA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * y.sigmoid().expand_as(x)


class Coordinate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool_h, self.pool_w = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.conv1, self.bn1, self.act = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.Hardswish()
        self.conv_h, self.conv_w = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        y = torch.cat([self.pool_h(x), self.pool_w(x).permute(0, 1, 3, 2)], dim=2)
        y = self.act(self.bn1(self.conv1(y)))
        x_h, x_w = torch.split(y, [h, w], dim=2)
        return x * self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid() * self.conv_h(x_h).sigmoid()


class NonLocal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(8, 4, 1) for _ in range(3))
        self.out = linear_bn(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.theta(x).flatten(2), self.phi(x).flatten(2), self.g(x).flatten(2)
        weight = torch.einsum("bci,bcj->bij", q, k).softmax(-1)
        return x + self.out(torch.einsum("bij,bcj->bci", weight, v).reshape(b, 4, h, w))


class SimAM(nn.Module):
    """No parameters at all."""

    def forward(self, x: Tensor) -> Tensor:
        _, _, h, w = x.size()
        n = w * h - 1
        minus = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = minus / (4 * (minus.sum(dim=[2, 3], keepdim=True) / n + 1e-4)) + 0.5
        return x * torch.sigmoid(y)


class SelectiveKernel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv_bn(8, 8, 3), conv_bn(8, 8, 5)])
        self.fc, self.fcs = nn.Linear(8, 4), nn.ModuleList([nn.Linear(4, 8), nn.Linear(4, 8)])

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            fea = conv(x).unsqueeze(dim=1)
            feas = fea if i == 0 else torch.cat([feas, fea], dim=1)  # noqa: F821 - made before
        z = self.fc(torch.sum(feas, dim=1).mean(-1).mean(-1))
        for i, fc in enumerate(self.fcs):
            vector = fc(z).unsqueeze_(dim=1)
            vectors = vector if i == 0 else torch.cat([vectors, vector], dim=1)  # noqa: F821
        vectors = torch.softmax(vectors, dim=1).unsqueeze(-1).unsqueeze(-1)
        return (feas * vectors).sum(dim=1)


class DynamicConv(nn.Module):
    """Each image has a kernel of its own: a grouped convolution over the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.route = nn.Linear(8, 3)
        self.weight = nn.Parameter(torch.randn(3, 8, 8, 3, 3) / 8)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        routing = torch.softmax(self.route(x.mean((2, 3))), -1)
        weight = torch.matmul(routing, self.weight.view(3, -1)).view(b * 8, c, 3, 3)
        out = F.conv2d(x.reshape(1, b * c, h, w), weight, padding=1, groups=b)
        return out.view(b, 8, h, w)


class Involution(nn.Module):
    """A kernel of every place's own."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.span = conv_bn(8, 4, 1), nn.Conv2d(4, 9 * 2, 1)
        self.unfold = nn.Unfold(3, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.span(self.reduce(x))
        b, _, h, w = weight.shape
        weight = weight.view(b, 2, 9, h, w).unsqueeze(2)
        out = self.unfold(x).view(b, 2, 4, 9, h, w)
        return (weight * out).sum(dim=3).view(b, 8, h, w)


class GlobalFilter(nn.Module):
    """Filters by Fourier transform."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16, 9, 2) * 0.5)

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft2(x, norm="ortho")
        f = f * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(f, s=x.shape[-2:], norm="ortho")


class SelfAttention(nn.Module):
    """Multi-head attention over places."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.norm(x.flatten(2).transpose(1, 2))
        y, _ = self.attention(y, y, y, need_weights=False)
        return x + y.transpose(1, 2).reshape(b, c, h, w)


class Scaled(nn.Module):
    """Attention by hand, scaled by the root of a size."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(8, 24, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(b, 3, c, h * w).unbind(1)
        weight = (q.transpose(1, 2) @ k) / math.sqrt(c)
        return x + (v @ weight.softmax(-1).transpose(1, 2)).reshape(b, c, h, w)


@stranger(attention=SE)
@stranger(attention=ConvSE)
@stranger(attention=CBAM)
@stranger(attention=ECA)
@stranger(attention=Coordinate)
@stranger(attention=NonLocal)
@stranger(attention=SimAM)
@stranger(attention=SelectiveKernel)
@stranger(attention=DynamicConv)
@stranger(attention=Involution)
@stranger(attention=GlobalFilter)
@stranger(attention=SelfAttention)
@stranger(attention=Scaled)
class Attentive(Classifier):
    """A residual block around convolutions and one attention."""

    def __init__(self, attention: type[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.conv2, self.attention = conv_bn(8, 8), linear_bn(8, 8), attention()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.attention(self.conv2(self.conv1(x))))
        return self.head(self.neck(x).mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, i: int, e: int, o: int, s: int, *, se: bool, hs: bool) -> None:
        super().__init__()
        act = nn.Hardswish if hs else nn.ReLU
        self.conv = nn.Sequential(
            *linear_bn(i, e, 1), act(inplace=True),
            *linear_bn(e, e, 3, s, e), ConvSE(e) if se else nn.Identity(), act(inplace=True),
            *linear_bn(e, o, 1),
        )  # fmt: skip
        self.identity = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.identity else self.conv(x)


class HSwish(nn.Module):
    """Written out, as before torch had it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * F.relu6(x + 3, inplace=True) / 6


@stranger()
class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *linear_bn(3, 8, 3, 2), HSwish(),
            InvertedResidual(8, 16, 8, 1, se=True, hs=False),
            InvertedResidual(8, 16, 12, 2, se=False, hs=True),
            InvertedResidual(12, 24, 12, 1, se=True, hs=True),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(12, 8), HSwish(), nn.Dropout(0.2), nn.Linear(8, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))
