"""Start MixVPR as a good compression of the backbone's own features, instead of at random.

Bare ImageNet features pooled over a grid recognise places well. A PCA over channels and averages over image regions
say nearly the same in far fewer numbers, and MixVPR's two projections can hold just that; its mixers start near the
identity. Training then improves on a descriptor that works, and forgets less of what it does on images unlike the
training set's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from vpr_ros.network.demixvpr import STRIDE, DeMixVPR, normalise_positions


@torch.no_grad()
def initialise_projections(network: DeMixVPR, batches: Iterable[Tensor]) -> None:
    """Set the channel projection to principal components, the row projection to regions, the offset to minus the mean.

    batches: of images (B, H, W, 3) uint8, a few hundred in all, of the kinds the network will meet.
    """
    aggregator, config = network.aggregator, network.config
    network.eval()
    batches = list(batches)
    features = torch.cat([normalise_positions(network.backbone(images)[2].float()) for images in batches])
    channels = features.shape[1]
    components = _principal_components(features, config.out_channels)
    aggregator.channel_projection.weight[:, :channels] = components
    aggregator.row_projection.weight.copy_(_regions(config.height // STRIDE, config.width // STRIDE, config.out_rows))
    aggregator.channel_projection.bias.zero_()
    aggregator.row_projection.bias.zero_()
    unscaled = torch.cat([_before_offset(network, images) for images in batches])
    aggregator.offset.copy_(-unscaled.mean(0))


def _before_offset(network: DeMixVPR, images: Tensor) -> Tensor:
    aggregator = network.aggregator
    x = aggregator.mixers(network.features(images)[0].flatten(2))
    x = aggregator.channel_projection(x.transpose(1, 2))
    return aggregator.row_projection(x.transpose(1, 2)).flatten(1)


def _principal_components(features: Tensor, count: int) -> Tensor:
    """(B, C, h, w) -> (count, C) orthonormal rows; random orthogonal ones follow where C is smaller than count."""
    samples = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).double()
    samples = samples - samples.mean(0)
    _, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
    components = vectors.flip(1).T[:count]
    if len(components) < count:
        extra = torch.randn(count - len(components), components.shape[1], dtype=torch.double)
        components = torch.cat((components, torch.nn.functional.normalize(extra, dim=1)))
    return components.float()


def _regions(height: int, width: int, count: int) -> Tensor:
    """(count, height * width) weights of soft, overlapping regions in a near-square grid, wider than high."""
    grid_rows = max(divisor for divisor in range(1, math.isqrt(count) + 1) if count % divisor == 0)
    vertical, horizontal = _windows(height, grid_rows), _windows(width, count // grid_rows)
    regions = torch.einsum("rh,cw->rchw", vertical, horizontal).reshape(count, -1)
    return regions / regions.norm(dim=1, keepdim=True)


def _windows(size: int, count: int) -> Tensor:
    """(count, size): triangles spaced evenly over the size, each reaching its neighbours' centres."""
    centres = (torch.arange(count) + 0.5) * size / count
    distance = (torch.arange(size) + 0.5 - centres[:, None]).abs()
    return (1 - distance * count / size).clamp(min=0) if count > 1 else torch.ones(1, size)
