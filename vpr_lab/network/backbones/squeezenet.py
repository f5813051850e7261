"""SqueezeNet 1.1, the smallest of the encoders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import FeatureStack, copy_array, read_npz
from vpr_ros.base.image import Preprocessing


class _Fire(nn.Module):
    """A 1 x 1 convolution squeezes the channels, a 1 x 1 and a 3 x 3 one side by side expand them; each with ReLU."""

    def __init__(self, inputs: int, squeezed: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, outputs // 2, 1)
        self.expand3x3 = nn.Conv2d(squeezed, outputs // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))), dim=1)


class SqueezeNet(FeatureStack):
    """SqueezeNet 1.1 to its last fire module (Iandola et al. 2016): 0.7 M weights, no batch norm.

    Levels: fire3 (128 channels), fire5 (256) and fire9 (512, ``place``) at strides 4, 8, 16, each a little short of
    H / stride as only the 3 x 3 convolutions of fire modules are padded: 55, 27 and 13 rows of 224 pixels.
    """

    channels = (128, 256, 512, 512)
    # Caffe's means, here as RGB; no scaling.
    preprocessing = Preprocessing(mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0))
    LEVELS = (4, 7, 12, 12)

    def __init__(self) -> None:
        super().__init__(
            nn.Sequential(
                nn.Conv2d(3, 64, 3, 2),
                nn.ReLU(),
                nn.MaxPool2d(3, 2),
                _Fire(64, 16, 128),
                _Fire(128, 16, 128),
                nn.MaxPool2d(3, 2),
                _Fire(128, 32, 256),
                _Fire(256, 32, 256),
                nn.MaxPool2d(3, 2),
                _Fire(256, 48, 384),
                _Fire(384, 48, 384),
                _Fire(384, 64, 512),
                _Fire(512, 64, 512),
            )
        )

    def load_weights(self, path: Path) -> None:
        """Read a .npz with Keras' names (``conv1/kernel``, ``fire2/squeeze1x1/.../bias:0``); kernels out, in, h, w.

        Those weights were trained on BGR: the first kernel is turned round, so that the network takes RGB.
        """
        arrays = read_npz(path)
        for layer, convolution in self._layers():
            for kind, target in (("kernel", convolution.weight), ("bias", convolution.bias)):
                names = [n for n in arrays if n.startswith(f"{layer}/") and n.partition(":")[0].endswith(f"/{kind}")]
                copy_array(arrays, names[0] if names else f"{layer}/{kind}", target, path)
        first = next(self._layers())[1]
        with torch.no_grad():
            first.weight.copy_(first.weight.flip(1))

    def _layers(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Every convolution by Keras' name."""
        stem, *fires = self.blocks()
        assert isinstance(stem, nn.Conv2d)
        yield "conv1", stem
        for number, fire in enumerate(fires, start=2):
            assert isinstance(fire, _Fire)
            yield f"fire{number}/squeeze1x1", fire.squeeze
            yield f"fire{number}/expand1x1", fire.expand1x1
            yield f"fire{number}/expand3x3", fire.expand3x3
