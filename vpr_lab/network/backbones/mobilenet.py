"""MobileNetV1, the encoder of the shipped model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones.base import Backbone, Pyramid, copy_array, read_npz
from vpr_ros.base.image import Preprocessing


class _SeparableBlock(nn.Module):
    """3 x 3 depthwise, then 1 x 1 convolution, each with batch norm and ReLU6.

    Stride 2 pads right and bottom only, as Keras does.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1 if stride == 1 else 0, groups=inputs, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inputs, eps=1e-3)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            x = F.pad(x, (0, 1, 0, 1), value=0.0)
        x = F.relu6(self.depthwise_norm(self.depthwise(x)))
        return F.relu6(self.pointwise_norm(self.pointwise(x)))


class MobileNetV1(Backbone):
    """MobileNetV1 1.0 to ``conv_pw_11`` (Howard et al. 2017): 128, 256, 512 channels; 1.6 M weights.

    ``conv_pw_7`` describes places: the middle layers are the most robust to seasons (Suenderhauf et al. 2015).
    """

    channels = (128, 256, 512, 512)
    preprocessing = Preprocessing(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
    LAYOUT = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5)  # (channels, stride)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(32, eps=1e-3)
        inputs = 32
        self.layers = nn.ModuleList()
        for outputs, stride in self.LAYOUT:
            self.layers.append(_SeparableBlock(inputs, outputs, stride))
            inputs = outputs

    def blocks(self) -> Iterator[nn.Module]:
        yield nn.ModuleList([self.stem, self.stem_norm])
        yield from self.layers

    def encode(self, x: Tensor) -> Pyramid:
        x = F.relu6(self.stem_norm(self.stem(F.pad(x, (0, 1, 0, 1), value=0.0))))
        features = []
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if number in (3, 5, 7, 11):
                features.append(x)
        stride4, stride8, place, stride16 = features
        return Pyramid(stride4, stride8, stride16, place)

    def load_weights(self, path: Path) -> None:
        """Read a .npz with Keras' layer names (``conv_pw_3/kernel``, ``conv_pw_3_bn/gamma``); kernels out, in, h, w."""
        arrays = read_npz(path)
        pairs = [("conv1", "kernel", self.stem, self.stem_norm)]
        for number, layer in enumerate(self.layers, start=1):
            assert isinstance(layer, _SeparableBlock)
            pairs.append((f"conv_dw_{number}", "depthwise_kernel", layer.depthwise, layer.depthwise_norm))
            pairs.append((f"conv_pw_{number}", "kernel", layer.pointwise, layer.pointwise_norm))
        for name, kernel, convolution, norm in pairs:
            copy_array(arrays, f"{name}/{kernel}", convolution.weight, path)
            copy_array(arrays, f"{name}_bn/gamma", norm.weight, path)
            copy_array(arrays, f"{name}_bn/beta", norm.bias, path)
            copy_array(arrays, f"{name}_bn/moving_mean", norm.running_mean, path)
            copy_array(arrays, f"{name}_bn/moving_variance", norm.running_var, path)
