"""RGB encoders by name, with the weights they start from.

An encoder maps (B, H, W, 3) uint8 RGB, which it normalises as its weights expect, to a ``Pyramid``. Its ``blocks`` are
listed in order, so that a recipe can freeze the first ones.
"""

from __future__ import annotations

from pathlib import Path

import torch

from vpr_lab.network.backbones.alexnet import AlexNet
from vpr_lab.network.backbones.base import Backbone, Pyramid
from vpr_lab.network.backbones.dinov2 import DinoV2Small, DinoV2SmallTen
from vpr_lab.network.backbones.dinov2_lite import DinoV2Lite
from vpr_lab.network.backbones.efficientnet import EfficientNetV2S
from vpr_lab.network.backbones.efficientnet_lite import EfficientNetLite0, EfficientNetLite2
from vpr_lab.network.backbones.mobilenet import MobileNetV1
from vpr_lab.network.backbones.resnet import ResNet18, ResNet18Full
from vpr_lab.network.backbones.squeezenet import SqueezeNet
from vpr_lab.network.backbones.vgg import VGG16
from vpr_ros.base.errors import ModelError

__all__ = [
    "BACKBONES",
    "VGG16",
    "AlexNet",
    "Backbone",
    "DinoV2Lite",
    "DinoV2Small",
    "DinoV2SmallTen",
    "EfficientNetLite0",
    "EfficientNetLite2",
    "EfficientNetV2S",
    "MobileNetV1",
    "Pyramid",
    "ResNet18",
    "ResNet18Full",
    "SqueezeNet",
    "build_backbone",
    "feature_shape",
]

BACKBONES: dict[str, type[Backbone]] = {
    "alexnet": AlexNet,
    "dinov2_vits14": DinoV2Small,
    "dinov2_vits14_10": DinoV2SmallTen,
    "dinov2_lite0": DinoV2Lite,
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite2": EfficientNetLite2,
    "efficientnet_v2_s": EfficientNetV2S,
    "mobilenet_v1": MobileNetV1,
    "resnet18": ResNet18,
    "resnet18_full": ResNet18Full,
    "squeezenet": SqueezeNet,
    "vgg16": VGG16,
}


def build_backbone(name: str, weights: Path | None = None) -> Backbone:
    """An encoder by name, random or from a file of weights. Raises ModelError for an unknown name or an unfit file."""
    if name not in BACKBONES:
        raise ModelError(f"unknown backbone {name!r}: choose one of {', '.join(sorted(BACKBONES))}")
    backbone = BACKBONES[name]()
    if weights is not None:
        backbone.load_weights(weights)
    return backbone


def feature_shape(backbone: Backbone, height: int, width: int) -> tuple[int, int, int]:
    """(C, h, w) of ``place`` for images of height x width pixels, by running one; every module keeps its mode.

    Raises ModelError if the image is too small for the network.
    """
    modes = {module: module.training for module in backbone.modules()}
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=next(backbone.parameters()).device)
    try:
        with torch.no_grad():
            _, channels, rows, columns = backbone.eval()(image).place.shape
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{type(backbone).__name__} cannot take images of {height} x {width} pixels: {reason}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    return channels, rows, columns
