"""From a feature map to one descriptor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    in_channels, in_positions (height times width) describe the map; the descriptor has out_channels * out_rows numbers.
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
        return F.normalize(self.compress(features).float() + self.offset, dim=1)

    def compress(self, features: Tensor) -> Tensor:
        """The descriptor before offset and normalisation."""
        x = self.mixers(features.flatten(2))
        x = self.channel_projection(x.transpose(1, 2))
        return self.row_projection(x.transpose(1, 2)).flatten(1)


class NetVLAD(nn.Module):
    """Feature map -> sums of residuals to visual words, wherever in the image they are (Arandjelovic et al. 2016).

    Local features of unit length are summed up to clusters * channels numbers. ``channels`` other than 0 projects them
    first, which keeps the descriptor short; the paper keeps them as they are.
    """

    def __init__(self, in_channels: int, clusters: int, channels: int = 0) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, channels) if channels else nn.Identity()
        channels = channels or in_channels
        self.assignment = nn.Linear(channels, clusters)
        self.centroids = nn.Parameter(torch.randn(clusters, channels) / channels**0.5)

    def local_features(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, h * w, channels) of unit length."""
        return F.normalize(self.projection(features.flatten(2).transpose(1, 2)).float(), dim=2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, clusters * channels), unit length."""
        x = self.local_features(features)
        weights = torch.softmax(self.assignment(x).float(), dim=2).transpose(1, 2)
        residuals = weights @ x - weights.sum(2, keepdim=True) * self.centroids
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)

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
    """MixVPR beside NetVLAD, with equal weight: where things are in the image, and what is there at all.

    The first carries over from season to season, the second from one side of the road to the other; each fails where
    the other does not.
    """

    def __init__(self, mix: MixVPR, vlad: NetVLAD) -> None:
        super().__init__()
        self.mix, self.vlad = mix, vlad

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, dimension of both), unit length."""
        return torch.cat((self.mix(features), self.vlad(features)), dim=1) * 0.5**0.5
