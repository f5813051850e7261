"""From a feature map to one descriptor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.static import size_of, unit

_SHARPNESS = 10.0  # of NetVLAD's first assignment to visual words


class FeatureMixer(nn.Module):
    """One mixer of MixVPR: every channel's map, flattened, through LayerNorm and a two-layer perceptron; residual."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(positions)
        self.first = nn.Linear(positions, positions)
        self.second = nn.Linear(positions, positions)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(self.norm(x))))


class MixVPR(nn.Module):
    """Feature map -> descriptor by mixing over positions, then projecting channels and rows (Ali-bey et al. 2023).

    in_channels, in_positions (height times width) describe the map. The descriptor has out_channels * out_rows
    dimensions.
    ``offset`` is added before the last normalisation: zero is the paper, minus the mean descriptor a good start.
    """

    def __init__(self, in_channels: int, in_positions: int, out_channels: int, out_rows: int, mixers: int = 4) -> None:
        super().__init__()
        self.mixers = nn.Sequential(*(FeatureMixer(in_positions) for _ in range(mixers)))
        self.channel_projection = nn.Linear(in_channels, out_channels)
        self.row_projection = nn.Linear(in_positions, out_rows)
        self.offset = nn.Parameter(torch.zeros(out_channels * out_rows))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels * out_rows), unit length."""
        return unit(self.compress(features).float() + self.offset)

    def compress(self, features: Tensor) -> Tensor:
        """The descriptor before offset and normalisation."""
        x = self.mixers(_flat(features))
        x = self.channel_projection(x.transpose(1, 2))
        return self.row_projection(x.transpose(1, 2)).flatten(1)

    @torch.no_grad()
    def initialise(self, features: Tensor, rows: int, columns: int) -> None:
        """Start from feature maps (N, in_channels, rows, columns) of some images, sorted by principal component.

        The channel projection picks the first components, the row projection regions. The offset is minus the mean.
        """
        pick_first(self.channel_projection)
        self.row_projection.weight.copy_(regions(rows, columns, self.row_projection.out_features))
        self.row_projection.bias.zero_()
        self.offset.copy_(-torch.cat([self.compress(part) for part in features.split(64)]).mean(0))


class NetVLAD(nn.Module):
    """Feature map -> sums of residuals to visual words, wherever in the image they are (Arandjelovic et al. 2016).

    Local features of unit length are summed up to clusters * channels dimensions. ``channels`` other than 0 projects
    them first, which keeps the descriptor short; the paper keeps them as they are.
    """

    def __init__(self, in_channels: int, clusters: int, channels: int = 0) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, channels) if channels else nn.Identity()
        channels = channels or in_channels
        self.assignment = nn.Linear(channels, clusters)
        self.centroids = nn.Parameter(torch.randn(clusters, channels) / channels**0.5)

    def local_features(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, h * w, channels) of unit length."""
        return unit(self.projection(_flat(features).transpose(1, 2)).float(), dim=2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, clusters * channels), unit length."""
        x = self.local_features(features)
        weights = torch.softmax(self.assignment(x).float(), dim=2).transpose(1, 2)
        residuals = weights @ x - weights.sum(2, keepdim=True) * self.centroids
        return unit(unit(residuals, dim=2).flatten(1))

    @torch.no_grad()
    def learn_words(self, features: Tensor, alpha: float | None = None) -> None:
        """(N, in_channels, h, w) of some images -> centroids, by k-means, and the assignment that goes with them.

        A word's weight falls off as exp(-alpha * squared distance). Without alpha the nearest word weighs on average a
        hundred times as much as the second, as in the authors' code.
        """
        samples = self.local_features(features).flatten(0, 1)
        self.centroids.copy_(k_means(samples, len(self.centroids)))
        if alpha is None:
            nearest = torch.cdist(samples, self.centroids).square().topk(min(2, len(self.centroids)), largest=False)
            gap = float((nearest.values[:, -1] - nearest.values[:, 0]).mean())
            alpha = math.log(100) / max(gap, 1e-6)
        self.assignment.weight.copy_(2 * alpha * self.centroids)
        self.assignment.bias.copy_(-alpha * self.centroids.square().sum(1))


def k_means(samples: Tensor, count: int, rounds: int = 20) -> Tensor:
    """(N, C) -> (count, C) centroids, Lloyd's algorithm from random samples; at most 50,000 samples are looked at."""
    samples = samples[torch.randperm(len(samples))[:50_000]]
    centroids = samples[:count].clone()
    for _ in range(rounds):
        nearest = torch.cdist(samples, centroids).argmin(1)
        for k in nearest.unique().tolist():
            centroids[k] = samples[nearest == k].mean(0)
    return centroids


class MixVLAD(nn.Module):
    """MixVPR and NetVLAD joined, with equal weight: where things are in the image, and which things there are.

    The first is robust from season to season, the second from one side of the road to the other.
    """

    def __init__(self, mix: MixVPR, vlad: NetVLAD) -> None:
        super().__init__()
        self.mix, self.vlad = mix, vlad

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, dimension of both), unit length."""
        return torch.cat((self.mix(features), self.vlad(features)), dim=1) * 0.5**0.5

    @torch.no_grad()
    def initialise(self, features: Tensor, rows: int, columns: int) -> None:
        """As MixVPR's; NetVLAD's projection picks the first components, its centroids are k-means."""
        assert isinstance(self.vlad.projection, nn.Linear)
        pick_first(self.vlad.projection)
        self.vlad.learn_words(features, _SHARPNESS)
        self.mix.initialise(features, rows, columns)


def _flat(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, h * w)."""
    rows, columns = size_of(features)
    return features.reshape(-1, int(features.shape[1]), rows * columns)


def pick_first(projection: nn.Linear) -> None:
    """Make output k input k, and a very little of every other input."""
    count = min(projection.weight.shape)
    nn.init.normal_(projection.weight, std=0.005)
    projection.weight[:, :count] = torch.eye(projection.out_features, count)
    projection.bias.zero_()


def regions(height: int, width: int, count: int) -> Tensor:
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
