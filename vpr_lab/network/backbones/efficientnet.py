"""EfficientNetV2-S, the larger of the encoders trained with CosPlace's classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import FeatureStack


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution, batch norm and, unless it ends a block, SiLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs, eps=1e-3)]
    return nn.Sequential(*layers, nn.SiLU()) if activation else nn.Sequential(*layers)


class _SqueezeExcitation(nn.Module):
    """Weigh channels by what the whole image shows (Hu et al. 2018); attribute names are torchvision's."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class _InvertedBottleneck(nn.Module):
    """Widen, filter, narrow, with a shortcut where the shape allows; the attribute's name is torchvision's.

    squeeze False: FusedMBConv, one 3 x 3 convolution that widens and filters. True: MBConv, where a 1 x 1 widens and a
    depthwise 3 x 3 filters, followed by squeeze and excitation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, squeeze: bool) -> None:
        super().__init__()
        wide = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        if squeeze:
            self.block = nn.Sequential(
                _convolution(inputs, wide, 1),
                _convolution(wide, wide, 3, stride, groups=wide),
                _SqueezeExcitation(wide, inputs // 4),
                _convolution(wide, outputs, 1, activation=False),
            )
        elif expansion == 1:
            self.block = nn.Sequential(_convolution(inputs, outputs, 3, stride))
        else:
            self.block = nn.Sequential(
                _convolution(inputs, wide, 3, stride), _convolution(wide, outputs, 1, activation=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class EfficientNetV2S(FeatureStack):
    """EfficientNetV2-S without its classifier (Tan and Le 2021): 20.2 M weights; torchvision's names.

    Levels: the outputs of features 2, 3 and 5 (48, 64, 160 channels) at strides 4, 8, 16; ``place`` is the last
    convolution's, 1280 channels at stride 32. Stochastic depth, which only acts in training, is left out.
    """

    channels = (48, 64, 160, 1280)
    torchvision = "efficientnet_v2_s"
    LEVELS = (2, 3, 5, 7)
    # (expansion, stride, inputs, outputs, blocks, squeeze) of each stage
    LAYOUT = (
        (1, 1, 24, 24, 2, False),
        (4, 2, 24, 48, 4, False),
        (4, 2, 48, 64, 4, False),
        (4, 2, 64, 128, 6, True),
        (6, 1, 128, 160, 9, True),
        (6, 2, 160, 256, 15, True),
    )

    def __init__(self) -> None:
        layers: list[nn.Module] = [_convolution(3, 24, 3, 2)]
        for expansion, stride, inputs, outputs, count, squeeze in self.LAYOUT:
            first = _InvertedBottleneck(inputs, outputs, stride, expansion, squeeze)
            rest = (_InvertedBottleneck(outputs, outputs, 1, expansion, squeeze) for _ in range(count - 1))
            layers.append(nn.Sequential(first, *rest))
        super().__init__(nn.Sequential(*layers, _convolution(256, 1280, 1)))
