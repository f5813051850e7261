"""RGB encoders cut at stride 16, by name, with the weights they start from.

An encoder maps (B, H, W, 3) uint8 RGB, which it normalises as its weights expect, to a ``Pyramid``. Its ``blocks`` are
listed in order, so that a recipe can freeze the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.errors import ModelError
from vpr_ros.image import Preprocessing


class Pyramid(NamedTuple):
    """Features (B, C, H / stride, W / stride). place: at stride 16, those that tell places apart best."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    place: Tensor


class Backbone(nn.Module):
    """What every encoder offers. channels: of its pyramid's levels. preprocessing: mean and std its weights expect."""

    channels: tuple[int, int, int, int]
    preprocessing: Preprocessing

    def blocks(self) -> Iterator[nn.Module]:
        """The layers from the image upwards, in groups that are frozen or trained as one."""
        raise NotImplementedError

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights; raises ModelError where the file lacks a layer or has another shape."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Pyramid:
        """(B, 3, H, W) float32, normalised -> features."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Pyramid:
        """(B, H, W, 3) uint8 RGB -> features."""
        own = self.preprocessing
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (own.mean, own.std))
        return self.encode((images.float().permute(0, 3, 1, 2) - mean) / std)


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

    Places are told apart by ``conv_pw_7``: over seasons the middle layers hold best, as in Suenderhauf et al. 2015.
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
        arrays = _read_npz(path)
        pairs = [("conv1", "kernel", self.stem, self.stem_norm)]
        for number, layer in enumerate(self.layers, start=1):
            assert isinstance(layer, _SeparableBlock)
            pairs.append((f"conv_dw_{number}", "depthwise_kernel", layer.depthwise, layer.depthwise_norm))
            pairs.append((f"conv_pw_{number}", "kernel", layer.pointwise, layer.pointwise_norm))
        for name, kernel, convolution, norm in pairs:
            _copy(arrays, f"{name}/{kernel}", convolution.weight, path)
            _copy(arrays, f"{name}_bn/gamma", norm.weight, path)
            _copy(arrays, f"{name}_bn/beta", norm.bias, path)
            _copy(arrays, f"{name}_bn/moving_mean", norm.running_mean, path)
            _copy(arrays, f"{name}_bn/moving_variance", norm.running_var, path)


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
    preprocessing = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

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

    def load_weights(self, path: Path) -> None:
        """Read torchvision's ``resnet18`` state dict (.pth); the layers after layer3 are left out."""
        if not path.is_file():
            raise ModelError(
                f"no starting weights at {path}: download torchvision's resnet18 state dict or leave weights empty"
            )
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.load_state_dict({k: v for k, v in state.items() if not k.startswith(("layer4.", "fc."))})
        except Exception as error:  # torch raises many kinds for a file that is not what it should be
            raise ModelError(
                f"{path} is not torchvision's resnet18 state dict: {str(error).splitlines()[0]}"
            ) from error


BACKBONES: dict[str, type[Backbone]] = {"resnet18": ResNet18, "mobilenet_v1": MobileNetV1}


def build_backbone(name: str, weights: Path | None = None) -> Backbone:
    """An encoder by name, random or from a file of weights. Raises ModelError for an unknown name or an unfit file."""
    if name not in BACKBONES:
        raise ModelError(f"unknown backbone {name!r}: choose one of {', '.join(sorted(BACKBONES))}")
    backbone = BACKBONES[name]()
    if weights is not None:
        backbone.load_weights(weights)
    return backbone


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"the starting weights {path} cannot be read as .npz: {error}") from error


def _copy(arrays: dict[str, np.ndarray], name: str, target: Tensor | None, path: Path) -> None:
    if target is None or name not in arrays or arrays[name].shape != tuple(target.shape):
        raise ModelError(f"{path} has no array {name} of the shape this backbone needs")
    with torch.no_grad():
        target.copy_(torch.from_numpy(arrays[name]))
