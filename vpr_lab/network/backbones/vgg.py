"""VGG16, the encoder of CrossLocate."""

from __future__ import annotations

from torch import nn

from vpr_lab.network.backbones.base import FeatureStack


class VGG16(FeatureStack):
    """VGG16's 13 convolutions, no ReLU after the last and no last pool (Simonyan and Zisserman 2015): 14.7 M weights.

    Levels: conv3_3 (256 channels), conv4_3 (512) and conv5_3 (512, ``place``) at strides 4, 8, 16; torchvision's names.
    """

    channels = (256, 512, 512, 512)
    torchvision = "vgg16"
    LEVELS = (15, 22, 28, 28)
    LAYOUT = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels, between pools

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for stage in self.LAYOUT:
            for outputs in stage:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        super().__init__(nn.Sequential(*layers[:-2]))
