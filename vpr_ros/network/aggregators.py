"""From a feature map to one descriptor."""

from __future__ import annotations

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

    Local features are projected to ``channels`` and normalised first, which keeps the descriptor, clusters * channels
    numbers, short.
    """

    def __init__(self, in_channels: int, clusters: int, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, channels)
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
