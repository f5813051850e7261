"""AlexNet, the encoder of Piasco et al."""

from __future__ import annotations

from torch import nn

from vpr_lab.network.backbones.base import FeatureStack


class AlexNet(FeatureStack):
    """AlexNet to conv5 without its last ReLU and pool (Krizhevsky 2014; Piasco et al.): 2.5 M weights.

    Levels: conv1 (64 channels), conv2 (192) and conv5 (256, ``place``) at strides 4, 8, 16, each a little short of
    H / stride as little is padded: 55, 27 and 13 rows of 224 pixels. torchvision's names.
    """

    channels = (64, 192, 256, 256)
    torchvision = "alexnet"
    LEVELS = (1, 4, 10, 10)

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(
                nn.Conv2d(3, 64, 11, 4, 2),
                nn.ReLU(),
                nn.MaxPool2d(3, 2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(3, 2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(256, 256, 3, padding=1),
            )
        )
