"""DeMixVPR with hallucinated depth: one camera, one forward pass, a descriptor and a depth map.

RGB encoder -> decoder with skips -> depth -> depth encoder; both encoders' features, joined -> MixVPR. The fusion is
Dogru's DeMixVPR; predicting the depth it needs from the image itself is Piasco et al.'s "learning scene geometry".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_ros.errors import ConfigError
from vpr_ros.network.aggregators import MixVPR
from vpr_ros.network.backbones import build_backbone
from vpr_ros.network.depth import DepthDecoder, DepthEncoder, metres_from_log_depth

STRIDE = 16


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is; travels in every checkpoint.

    backbone: its name in the registry. height, width: pixels of the input, multiples of 16. depth_channels: width of
    the depth encoder's features. out_channels * out_rows: the descriptor's dimension.
    """

    backbone: str = "mobilenet_v1"
    height: int = 224
    width: int = 224
    depth_channels: int = 128
    mixers: int = 4
    out_channels: int = 256
    out_rows: int = 4

    def __post_init__(self) -> None:
        if self.height % STRIDE or self.width % STRIDE or min(self.height, self.width) < STRIDE:
            raise ConfigError(
                f"the network's input must be a multiple of {STRIDE} pixels, not {self.height} x {self.width}"
            )

    @property
    def dimension(self) -> int:
        return self.out_channels * self.out_rows


class DeMixVPR(nn.Module):
    """Image -> descriptor and depth. weights: file of the backbone's starting weights, or None for random ones."""

    def __init__(self, config: NetworkConfig, weights: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, weights)
        self.depth_decoder = DepthDecoder(self.backbone.channels)
        self.depth_encoder = DepthEncoder(config.depth_channels)
        positions = (config.height // STRIDE) * (config.width // STRIDE)
        joined = self.backbone.channels[2] + config.depth_channels
        self.aggregator = MixVPR(joined, positions, config.out_channels, config.out_rows, config.mixers)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> (joined features (B, C, H/16, W/16), log depth (B, 1, H/4, W/4), RGB features alone).

        The place loss stops at the depth map and the depth loss at the RGB features, as in Piasco et al.: depth stays
        depth, and the encoder keeps what it knows.
        """
        stride4, stride8, stride16 = self.backbone(images)
        log_depth = self.depth_decoder(stride4.detach(), stride8.detach(), stride16.detach())
        joined = torch.cat(
            (normalise_positions(stride16), normalise_positions(self.depth_encoder(log_depth.detach()))), dim=1
        )
        return joined, log_depth, stride16

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 RGB -> (descriptors (B, D) of unit length, depth (B, H/4, W/4) in metres)."""
        joined, log_depth, _ = self.features(images)
        return self.aggregator(joined), metres_from_log_depth(log_depth.float()).squeeze(1)


def normalise_positions(features: Tensor) -> Tensor:
    """(B, C, h, w) -> the same with a root mean square of one over the channels at every position.

    What a position shows then counts, and not how strongly: a bright sky or a sign in the sun no longer outvotes the
    rest of the image (CrossLocate and NetVLAD normalise local features for the same reason; MixVPR does not).
    """
    return F.normalize(features, dim=1) * features.shape[1] ** 0.5
