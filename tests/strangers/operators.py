"""Networks of unusual convolutions, norms, activations and poolings."""

import math

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.strangers.registry import Classifier, conv_bn, linear_bn, stranger


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y.view(y.size(0), 8, 2, y.size(2), y.size(3)).max(dim=2).values


class CReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(torch.cat([x, -x], 1)))


class Swish(nn.Module):
    """Written out, with a slope that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(torch.sigmoid(x * self.beta))


class MemoryEfficient(nn.Module):
    """An activation by an autograd function of its own."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)  # type: ignore[attr-defined]
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
            s = torch.sigmoid(x)
            return grad * (s * (1 + x * (1 - s)))

    def forward(self, x: Tensor) -> Tensor:
        return self.Function.apply(x)


class GELU(nn.Module):
    """Written out, by tanh."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class FReLU(nn.Module):
    """The larger of a pixel and what surrounds it."""

    def __init__(self) -> None:
        super().__init__()
        self.around = linear_bn(8, 8, g=8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(x, self.around(x))


_ACTIVATIONS = {
    "leaky": lambda: nn.LeakyReLU(0.2, inplace=True),
    "elu": lambda: nn.ELU(inplace=True),
    "elu2": lambda: nn.ELU(2.0),
    "selu": lambda: nn.SELU(inplace=True),
    "celu": lambda: nn.CELU(0.5),
    "prelu": nn.PReLU,
    "prelus": lambda: nn.PReLU(8),
    "gelu": nn.GELU,
    "tanhgelu": lambda: nn.GELU("tanh"),
    "mish": lambda: nn.Mish(inplace=True),
    "softplus": nn.Softplus,
    "threshold": lambda: nn.Threshold(0.1, 0.2, inplace=True),
    "hardtanh": lambda: nn.Hardtanh(0, 4, inplace=True),
    "glu": lambda: nn.Sequential(nn.Conv2d(8, 16, 1), nn.GLU(1)),
    "rrelu": lambda: nn.RReLU(inplace=True),
    "hardshrink": nn.Hardshrink,
    "softmax": nn.Softmax2d,
    "maxout": Maxout,
    "crelu": CReLU,
    "swish": Swish,
    "efficient": MemoryEfficient,
    "gelu_by_hand": GELU,
    "frelu": FReLU,
}


def _activated(*names: str) -> None:
    for name in names:
        stranger(activation=name)(Activated)


class Activated(Classifier):
    """Residual blocks of one activation."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        made = _ACTIVATIONS[activation]
        self.a = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), made())
        self.b, self.act = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8)), made()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.neck(self.act(x + self.b(self.a(x)))).mean((2, 3)))


_activated(*_ACTIVATIONS)


@stranger()
class ClampAndWhere(Classifier):
    """Activations by functions that are none by name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = linear_bn(8, 8), linear_bn(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.stem(x)).clamp(0, 6)
        x = self.b(x)
        x = torch.where(x > 0, x, 0.1 * x)
        return self.head(torch.clamp(self.neck(x), min=0.0, max=2).mean((2, 3)))


class ChannelNorm(nn.Module):
    """A layer norm over channels that come first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PermutedNorm(nn.LayerNorm):
    """A layer norm between two permutations."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return super().forward(x).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """A norm over places, of ConvNeXt-v2."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gx = torch.norm(x, p=2, dim=(2, 3), keepdim=True)
        return self.gamma * (x * (gx / (gx.mean(dim=1, keepdim=True) + 1e-6))) + x


class FilterResponse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.register_buffer("eps", torch.tensor([1e-6]))

    def forward(self, x: Tensor) -> Tensor:
        nu2 = torch.mean(x.pow(2), dim=[2, 3], keepdim=True)
        return torch.max(x * torch.rsqrt(nu2 + torch.abs(self.eps)), self.tau)


_NORMS = {
    "group": lambda: nn.GroupNorm(4, 8),
    "layer": ChannelNorm,
    "permuted": lambda: PermutedNorm(8),
    "instance": lambda: nn.InstanceNorm2d(8, affine=True),
    "tracking": lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "local": lambda: nn.LocalResponseNorm(3),
    "untracked": lambda: nn.BatchNorm2d(8, track_running_stats=False),
    "unlearnt": lambda: nn.BatchNorm2d(8, affine=False),
    "cumulative": lambda: nn.BatchNorm2d(8, momentum=None),
    "eps": lambda: nn.BatchNorm2d(8, eps=0.1, momentum=0.5),
    "synchronised": lambda: nn.SyncBatchNorm(8),
    "grn": GRN,
    "response": FilterResponse,
}


class Normed(Classifier):
    """Blocks of one norm."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        made = _NORMS[norm]
        self.body = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), made(), nn.ReLU(True)) for _ in range(2))
        )


for _name in _NORMS:
    stranger(norm=_name)(Normed)


class StandardisedConv(nn.Conv2d):
    """Weights are standardised whenever it runs."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = self.weight - mean
        std = weight.view(weight.size(0), -1).std(dim=1).view(-1, 1, 1, 1) + 1e-5
        weight = weight / std.expand_as(weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class TensorFlowConv(nn.Conv2d):
    """Padded by what the size at hand needs."""

    def forward(self, x: Tensor) -> Tensor:
        ih, iw = x.size()[-2:]
        kh, kw = self.weight.size()[-2:]
        sh, sw = self.stride
        oh, ow = math.ceil(ih / sh), math.ceil(iw / sw)
        pad_h = max((oh - 1) * sh + (kh - 1) * self.dilation[0] + 1 - ih, 0)
        pad_w = max((ow - 1) * sw + (kw - 1) * self.dilation[1] + 1 - iw, 0)
        if pad_h > 0 or pad_w > 0:
            x = F.pad(x, [pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2])
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Ternary(nn.Module):
    """A parametrisation: weights are rounded to a grid."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (torch.round(weight * 8) / 8 - weight).detach()


def _rounded() -> nn.Module:
    conv = nn.Conv2d(8, 8, 3, 1, 1)
    parametrize.register_parametrization(conv, "weight", Ternary())
    return conv


class CoordConv(nn.Module):
    """Coordinates are appended, made for the size at hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(10, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        ys = torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device)
        xs = torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device)
        grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"))
        return self.conv(torch.cat([x, grid.unsqueeze(0).expand(b, -1, -1, -1)], 1))


class PartialConv(nn.Module):
    """FasterNet: only the first channels are convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = torch.split(x, [2, 6], dim=1)
        return torch.cat((self.conv(x1), x2), 1)


class ChannelsLast(nn.Module):
    """A 1x1 convolution as a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.movedim(self.fc(x.movedim(1, -1)), -1, 1)


class SpaceToDepth(nn.Module):
    """YOLO's focus, and a shuffle of pixels back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = conv_bn(32, 32, 1), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat(
            [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1
        )
        return self.up(self.conv(x))


class Shifted(nn.Module):
    """Channels are shifted in place of a spatial kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            torch.roll(p, s, 2 + i % 2)
            for i, (p, s) in enumerate(zip(x.chunk(4, 1), (1, 1, -1, -1), strict=True))
        ]
        return self.conv(torch.cat(parts, 1))


class BlurPool(nn.Module):
    """A fixed kernel, held by a buffer."""

    def __init__(self) -> None:
        super().__init__()
        a = torch.tensor([1.0, 2.0, 1.0])
        kernel = (a[:, None] * a[None, :]) / 16
        self.register_buffer("filt", kernel[None, None].repeat(8, 1, 1, 1))
        self.pad = nn.ReflectionPad2d([1, 1, 1, 1])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.pad(x), self.filt, stride=2, groups=x.shape[1])


class GeMPool(nn.Module):
    """A mean of powers."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), 2).pow(1.0 / self.p)


class MixedPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * (F.max_pool2d(x, 2, ceil_mode=True) + F.avg_pool2d(x, 2))


_OPERATORS = {
    "standardised": lambda: StandardisedConv(8, 8, 3, 1, 1),
    "tensorflow": lambda: TensorFlowConv(8, 8, 3, 2),
    "timm_same": lambda: Conv2dSame(8, 8, 3, 2),
    "same": lambda: nn.Conv2d(8, 8, 4, padding="same"),
    "valid": lambda: nn.Conv2d(8, 8, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
    "asymmetric": lambda: nn.Sequential(
        nn.Conv2d(8, 8, (1, 7), padding=(0, 3)), nn.Conv2d(8, 8, (7, 1), (2, 1), (3, 0))
    ),
    "dilated": lambda: nn.Conv2d(8, 8, 3, 1, 2, 2, 4),
    "zero_padded": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 8, 3, 2)),
    "weight_norm": lambda: nn.utils.weight_norm(nn.Conv2d(8, 8, 3, 1, 1)),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Conv2d(8, 8, 3, 1, 1)),
    "weight_normed": lambda: parametrizations.weight_norm(nn.Conv2d(8, 8, 3, 1, 1)),
    "spectral_normed": lambda: parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, 1, 1)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(8, 8, 1)),
    "rounded": _rounded,
    "coordinates": CoordConv,
    "partial": PartialConv,
    "channels_last": ChannelsLast,
    "space_to_depth": SpaceToDepth,
    "shifted": Shifted,
    "blur": BlurPool,
    "gem": GeMPool,
    "mixed": MixedPool,
    "lp": lambda: nn.LPPool2d(2, 2),
    "max": lambda: nn.MaxPool2d(3, 2, 1),
    "fractional": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "ceil": lambda: nn.AvgPool2d(3, 2, ceil_mode=True),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(5),
    "unpooled": lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    "transposed": lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1),
    "conv3d": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 8)), nn.Conv3d(1, 1, 3, padding=1), nn.Flatten(1, 2)
    ),
}  # fmt: skip


class Operated(Classifier):
    """One unusual operator between convolutions, and one more behind a norm."""

    def __init__(self, operator: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(8, 8), _OPERATORS[operator](), nn.BatchNorm2d(8), nn.ReLU(), conv_bn(8, 8)
        )


for _name in _OPERATORS:
    stranger(operator=_name)(Operated)
