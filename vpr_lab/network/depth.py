"""Depth from one image, and features from that depth (Piasco et al., "Learning scene geometry").

Depth passes between the two halves as *log depth* in 0..1: 0 is NEAR_M, 1 is FAR_M, so that an error of one
metre weighs more close by.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.static import resized_to, size_of

NEAR_M = 1.0
FAR_M = 100.0


def metres_from_log_depth(log_depth: Tensor) -> Tensor:
    """0..1 -> NEAR_M..FAR_M metres."""
    return NEAR_M * torch.exp(log_depth * math.log(FAR_M / NEAR_M))


def log_depth_from_metres(depth_m: Tensor) -> Tensor:
    """Metres -> 0..1, clipped at both ends."""
    return torch.log(depth_m.clamp(NEAR_M, FAR_M) / NEAR_M) / math.log(FAR_M / NEAR_M)


def known_log_depth(depth_m: Tensor) -> Tensor:
    """Metres (B, h, w), 0 unknown -> log depth (B, 1, h, w); unknown pixels are far away."""
    return torch.where(depth_m > 0, log_depth_from_metres(depth_m), torch.ones_like(depth_m))[:, None]


def _standardised(log_depth: Tensor) -> Tensor:
    """Zero mean and unit variance over the image, two deviations within 0..1: near and far, without the metres."""
    centred = log_depth - log_depth.mean((2, 3), keepdim=True)
    return (0.5 + 0.25 * centred * (centred.square().mean((2, 3), keepdim=True) + 1e-6).rsqrt()).clamp(0, 1)


def _slopes(log_depth: Tensor) -> Tensor:
    """Log depth and how it rises to the right and downwards, as three channels: where surfaces face and end."""
    right = F.pad(log_depth[..., 1:] - log_depth[..., :-1], (0, 1, 0, 0))
    down = F.pad(log_depth[..., 1:, :] - log_depth[..., :-1, :], (0, 0, 0, 1))
    return torch.cat((log_depth, (0.5 + 4 * right).clamp(0, 1), (0.5 + 4 * down).clamp(0, 1)), dim=1)


# What an encoder may see of log depth (B, 1, h, w), in 0..1: (B, 1 or 3, h, w), in 0..1 too.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda log_depth: log_depth,
    "inverse": lambda log_depth: NEAR_M / metres_from_log_depth(log_depth),
    "metres": lambda log_depth: metres_from_log_depth(log_depth) / FAR_M,
    "standardised": _standardised,
    "slopes": _slopes,
}


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _upsample(x: Tensor, skip: Tensor) -> Tensor:
    """To the rows and columns of the skip, nearest: twice as many, or nearly so if a network does not pad."""
    height, width = size_of(x)
    if size_of(skip) == (2 * height, 2 * width):
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.interpolate(x, size=size_of(skip), mode="nearest")


class DepthDecoder(nn.Module):
    """U-Net decoder: features at strides 4, 8, 16 -> log depth at stride 4.

    Nearest upsampling and convolution where the paper has transposed convolutions: no checkerboard, and several
    times faster on a CPU.
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        stride4, stride8, stride16 = channels
        self.bottom = nn.Sequential(_convolution(stride16, 128, 1), _convolution(128, 128))
        self.skip8 = _convolution(stride8, 48, 1)
        self.merge8 = _convolution(128 + 48, 64)
        self.skip4 = _convolution(stride4, 32, 1)
        self.merge4 = _convolution(64 + 32, 32)
        self.head = nn.Conv2d(32, 1, 3, padding=1)

    def forward(
        self, stride4: Tensor, stride8: Tensor, stride16: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Features of an encoder -> (B, 1, h, w) log depth in 0..1.

        size: (h, w), H / 4 and W / 4 pixels; those of stride4 if None, which are fewer in a network that does not
        pad (``Pyramid``).
        """
        x = _upsample(self.bottom(stride16), stride8)
        x = self.merge8(torch.cat((x, self.skip8(stride8)), dim=1))
        x = _upsample(x, stride4)
        x = self.merge4(torch.cat((x, self.skip4(stride4)), dim=1))
        log_depth = torch.sigmoid(self.head(x))
        wanted = size_of(stride4) if size is None else (int(size[0]), int(size[1]))
        return resized_to(log_depth, *wanted)


class DepthEncoder(nn.Module):
    """(B, 1, H / 4, W / 4) log depth -> (B, outputs, H / 16, W / 16). Narrow: a depth map says less than an image."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _convolution(1, 32, stride=2),
            _convolution(32, 64),
            _convolution(64, outputs, stride=2),
            _convolution(outputs, outputs),
        )

    def forward(self, log_depth: Tensor) -> Tensor:
        return self.layers(log_depth)
