"""ResNet-18, the encoder of most of the papers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import Backbone, Pyramid


class _BasicBlock(nn.Module):
    """ResNet's two 3 x 3 convolutions with a shortcut; attribute names are torchvision's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(Backbone):
    """ResNet-18 to layer3 (He et al. 2016): 64, 128, 256 channels at strides 4, 8, 16; torchvision's names."""

    channels = (64, 128, 256, 256)
    torchvision = "resnet18"
    left_out: tuple[str, ...] = ("layer4.", "fc.")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(_BasicBlock(64, 64, 1), _BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(_BasicBlock(64, 128, 2), _BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(_BasicBlock(128, 256, 2), _BasicBlock(256, 256, 1))

    def blocks(self) -> Iterator[nn.Module]:
        yield nn.ModuleList([self.conv1, self.bn1])
        for layer in (self.layer1, self.layer2, self.layer3):
            yield from layer

    def encode(self, x: Tensor) -> Pyramid:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        stride4 = self.layer1(x)
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        return Pyramid(stride4, stride8, stride16, stride16)


class ResNet18Full(ResNet18):
    """ResNet-18 through layer4: 64, 128, 256 channels at strides 4, 8, 16; ``place`` has 512 at stride 32."""

    channels = (64, 128, 256, 512)
    left_out = ("fc.",)

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(_BasicBlock(256, 512, 2), _BasicBlock(512, 512, 1))

    def blocks(self) -> Iterator[nn.Module]:
        yield from super().blocks()
        yield from self.layer4

    def encode(self, x: Tensor) -> Pyramid:
        pyramid = super().encode(x)
        return pyramid._replace(place=self.layer4(pyramid.stride16))
