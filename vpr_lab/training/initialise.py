"""Start the head as a good compression of the backbone's own features, instead of at random.

Bare ImageNet features recognise places well, averaged over a grid or summed up by visual words. A PCA over channels
says nearly the same in far fewer numbers; MixVPR's two projections can hold a PCA and a grid, NetVLAD's centroids start
as k-means; MixVPR's mixers start near the identity. Training then improves on a descriptor that works, and forgets less
of what it does on images unlike the training set's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from vpr_lab.network.aggregators import MixVLAD, MixVPR, NetVLAD
from vpr_lab.network.demixvpr import STRIDE, DeMixVPR, normalise_positions, standardise_channels

_SHARPNESS = 10.0  # of NetVLAD's first assignment to visual words


@torch.no_grad()
def initialise_head(network: DeMixVPR, batches: Iterable[Tensor]) -> None:
    """Set the projections, centroids and offset of a network whose backbone has its starting weights.

    batches: of images (B, H, W, 3) uint8, a few hundred in all, of the kinds the network will meet.
    """
    network.eval()
    pyramids = [network.backbone(images) for images in batches]
    places = [pyramid.place.float() for pyramid in pyramids]
    depths = [network.hallucinate(pyramid).float() for pyramid in pyramids]
    initialise_from_features(network, torch.cat(places), torch.cat(depths))


@torch.no_grad()
def initialise_from_features(network: DeMixVPR, places: Tensor, log_depth: Tensor) -> None:
    """The same, from the backbone's features (B, C, h, w) and log depth (B, 1, H/4, W/4)."""
    network.eval()
    config = network.config
    samples = normalise_positions(standardise_channels(places)).permute(0, 2, 3, 1).reshape(-1, places.shape[1])
    components = _principal_components(samples, config.rgb_channels)
    network.rgb_projection.weight.copy_(components[..., None, None])
    network.rgb_projection.bias.copy_(-components @ samples.mean(0))  # type: ignore[union-attr]
    joined = torch.cat([network.join(*pair) for pair in zip(places.split(64), log_depth.split(64), strict=True)])
    aggregator = network.aggregator
    if isinstance(aggregator, MixVLAD):
        _initialise_vlad(aggregator.vlad, joined)
        aggregator = aggregator.mix
    assert isinstance(aggregator, MixVPR)
    _initialise_mix(aggregator, joined, config.height // STRIDE, config.width // STRIDE)


def _initialise_mix(mix: MixVPR, joined: Tensor, height: int, width: int) -> None:
    """The channel projection picks the first components, the row projection regions; minus the mean is added."""
    _pick_first(mix.channel_projection)
    mix.row_projection.weight.copy_(_regions(height, width, mix.row_projection.out_features))
    mix.row_projection.bias.zero_()
    mix.offset.copy_(-torch.cat([mix.compress(part) for part in joined.split(64)]).mean(0))


def _initialise_vlad(vlad: NetVLAD, joined: Tensor) -> None:
    """The projection picks the first components, the centroids are k-means of local features."""
    assert isinstance(vlad.projection, torch.nn.Linear)
    _pick_first(vlad.projection)
    vlad.learn_words(joined, _SHARPNESS)


def _pick_first(projection: torch.nn.Linear) -> None:
    """Output k is input k, and a very little of every other."""
    count = min(projection.weight.shape)
    torch.nn.init.normal_(projection.weight, std=0.005)
    projection.weight[:, :count] = torch.eye(projection.out_features, count)
    projection.bias.zero_()


def _principal_components(samples: Tensor, count: int) -> Tensor:
    """(N, C) -> (count, C) orthonormal rows; random ones follow where C is smaller than count."""
    covariance = torch.cov(samples.T.double())
    components = torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:count]
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
