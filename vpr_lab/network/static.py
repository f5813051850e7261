"""Operations whose exported graph computes no shapes: all of it runs on a GPU, and a CUDA graph can record it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def unit(x: Tensor, dim: int = 1) -> Tensor:
    """Unit length along a dimension, as ``F.normalize``, whose ``expand`` asks for the tensor's shape."""
    return x / x.norm(dim=dim, keepdim=True).clamp_min(1e-12)


def size_of(x: Tensor) -> tuple[int, int]:
    """Rows and columns of (B, C, h, w) as integers, which tracing makes constants."""
    return int(x.shape[-2]), int(x.shape[-1])


def resized_to(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, h, w) -> (B, C, height, width), bilinear.

    By a scale: a size would be joined with the batch's at run time. Scales that are no whole numbers are a millionth
    larger, so that rounding loses no row.
    """
    if size_of(x) == (height, width):
        return x
    scales = [wanted / side for wanted, side in zip((height, width), size_of(x), strict=True)]
    scales = [scale if scale.is_integer() else scale * (1 + 1e-6) for scale in scales]
    return F.interpolate(x, scale_factor=scales, mode="bilinear", align_corners=False)
