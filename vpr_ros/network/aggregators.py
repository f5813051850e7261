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
        x = self.mixers(features.flatten(2))
        x = self.channel_projection(x.transpose(1, 2))
        x = self.row_projection(x.transpose(1, 2))
        return F.normalize(x.flatten(1).float() + self.offset, dim=1)
