"""Networks of the recipes that no library has: a U-Net, and a denoiser of residual blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it


def _double(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Down by pooling and up by transposed convolutions, with what came before joined on.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI
    2015, https://arxiv.org/abs/1505.04597, with padding and batch norms.
    """

    def __init__(self, classes: int, channels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth)]
        befores = [channels, *widths[:-1]]
        self.down = nn.ModuleList(
            _double(before, after) for before, after in zip(befores, widths, strict=True)
        )
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(before, after, 2, 2) for before, after in ups)
        self.up = nn.ModuleList(_double(2 * after, after) for _, after in ups)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The logits of each pixel, (N, classes, rows, columns)."""
        x, kept = image, list[Tensor]()
        for i, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for i, (rise, up) in enumerate(zip(self.rise, self.up, strict=True)):
            x = up(torch.cat([kept[-2 - i], rise(x)], 1))
        logits: Tensor = self.head(x)
        return logits


class Denoiser(nn.Module):
    """Residual blocks without norms, as EDSR has them; it gives the image without its noise.

    Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
    https://arxiv.org/abs/1707.02921.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """The image, (N, channels, rows, columns)."""
        x = self.first(image)
        for block in self.blocks:
            x = x + block(x)
        restored: Tensor = image - self.last(x)
        return restored


def unet(num_classes: int = 11, in_chans: int = 3, width: int = 16, depth: int = 3) -> nn.Module:
    """A small U-Net."""
    return UNet(num_classes, in_chans, width, depth)


def denoiser(in_chans: int = 3, width: int = 24, blocks: int = 6) -> nn.Module:
    """A small denoiser."""
    return Denoiser(in_chans, width, blocks)
