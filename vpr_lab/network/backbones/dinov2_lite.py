"""DINOv2 beside EfficientNet-Lite0: what there is, and where things are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from vpr_lab.network.backbones.base import Backbone, Pyramid
from vpr_lab.network.backbones.dinov2 import PATCH, DinoV2Small
from vpr_lab.network.backbones.efficientnet_lite import EfficientNetLite0
from vpr_lab.network.static import resized_to
from vpr_ros.base.errors import ModelError

_STRIDE = 16  # of both encoders' features


class DinoV2Lite(Backbone):
    """EfficientNet-Lite0 to stage 4, and the patch tokens of DINOv2's block 7 at the same positions.

    DINOv2 sees the image at 14 / 16 of its size, so that each of its patches covers 16 pixels. ``place`` joins stage 3
    (80 channels), stage 4 (112) and the tokens (384); the levels for depth are EfficientNet's alone. Sides of images
    are multiples of 16; any other raises ModelError.
    """

    channels = (24, 40, 112, 576)
    place_parts = (80, 112, 384)
    layout_weights = (1.0, 1.0, 0.3)

    def __init__(self) -> None:
        super().__init__()
        self.lite, self.dinov2 = EfficientNetLite0(), DinoV2Small()

    def blocks(self) -> Iterator[nn.Module]:
        yield from self.lite.blocks()
        yield from self.dinov2.blocks()

    def encode(self, x: Tensor) -> Pyramid:
        height, width = int(x.shape[2]), int(x.shape[3])
        if height % _STRIDE or width % _STRIDE:
            raise ModelError(
                f"dinov2_lite0 takes images whose sides are multiples of 16 pixels, not {height} x {width}"
            )
        theirs, own = self.lite.preprocessing, self.preprocessing
        scale, shift = (
            torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]
            for values in (
                [a / b for a, b in zip(own.std, theirs.std, strict=True)],
                [(a - b) / c for a, b, c in zip(own.mean, theirs.mean, theirs.std, strict=True)],
            )
        )
        stride4, stride8, stride16, place = self.lite.encode(x * scale + shift)
        small = resized_to(x, height // _STRIDE * PATCH, width // _STRIDE * PATCH)
        return Pyramid(stride4, stride8, stride16, torch.cat((place, self.dinov2.stages(small)[-1]), dim=1))

    def load_weights(self, path: Path) -> None:
        """Read both encoders' files from one folder, by the beginning of their names."""
        for encoder, name in ((self.lite, "efficientnet_lite0"), (self.dinov2, "dinov2_vits14")):
            encoder.load_weights(next(iter(sorted(path.glob(f"{name}*"))), path / f"{name}.pth"))
