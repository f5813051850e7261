"""DeMixVPR with hallucinated depth: one camera, one forward pass, a descriptor and a depth map.

RGB encoder -> decoder with skips -> depth -> depth encoder; both encoders' features, joined -> MixVPR and NetVLAD. The
fusion is Dogru's DeMixVPR; predicting the depth it needs from the image itself is Piasco et al.'s "learning scene
geometry".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.aggregators import MixVLAD, MixVPR, NetVLAD
from vpr_lab.network.backbones import Backbone, Pyramid, build_backbone
from vpr_lab.network.depth import DepthDecoder, DepthEncoder, metres_from_log_depth
from vpr_lab.network.systems import Output, PlaceNetwork, encode_depth
from vpr_ros.base.errors import ConfigError

STRIDE = 16


@dataclass(frozen=True)
class NetworkConfig:
    """What the network is; travels in every checkpoint.

    backbone: its name in the registry. height, width: pixels of the input, multiples of 16. rgb_channels: the RGB
    features are projected to so many before they are mixed, which makes the mixers cheap. depth_channels: width of the
    depth encoder's features; 0 makes the descriptor from RGB alone. depth_backbone: image encoder that encodes the
    depth map, shown as a grey picture of depth_side pixels; empty: four convolutions do. out_channels * out_rows
    numbers of the descriptor come from MixVPR, vlad_clusters * vlad_channels from NetVLAD; 0 clusters leave it out.
    """

    backbone: str = "mobilenet_v1"
    height: int = 224
    width: int = 224
    rgb_channels: int = 128
    depth_channels: int = 64
    depth_backbone: str = ""
    depth_side: int = 112
    mixers: int = 4
    out_channels: int = 32
    out_rows: int = 16
    vlad_clusters: int = 16
    vlad_channels: int = 32

    def __post_init__(self) -> None:
        if self.height % STRIDE or self.width % STRIDE or min(self.height, self.width) < STRIDE:
            raise ConfigError(
                f"the network's input must be a multiple of {STRIDE} pixels, not {self.height} x {self.width}"
            )
        if self.depth_side < 2 * STRIDE:
            raise ConfigError(f"depth_side is {self.depth_side}: the depth encoder needs {2 * STRIDE} pixels at least")

    @property
    def dimension(self) -> int:
        return self.out_channels * self.out_rows + self.vlad_clusters * self.vlad_channels


class DeMixVPR(nn.Module):
    """Image -> descriptor and depth.

    weights: file of the backbone's starting weights, and of the depth backbone's where it is of that kind; None for
    random ones.
    """

    hallucinates = True

    def __init__(self, config: NetworkConfig, weights: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, weights)
        self.depth_decoder = DepthDecoder(self.backbone.channels[:3])
        self.depth_encoder = _depth_encoder(config, weights) if config.depth_channels else None
        self.rgb_projection = nn.Conv2d(self.backbone.channels[3], config.rgb_channels, 1)
        positions = (config.height // STRIDE) * (config.width // STRIDE)
        joined = config.rgb_channels + config.depth_channels
        mix = MixVPR(joined, positions, config.out_channels, config.out_rows, config.mixers)
        self.aggregator: nn.Module = mix
        if config.vlad_clusters:
            self.aggregator = MixVLAD(mix, NetVLAD(joined, config.vlad_clusters, config.vlad_channels))

    def head(self) -> list[nn.Module]:
        """What turns features and depth into a descriptor."""
        return [module for module in (self.rgb_projection, self.depth_encoder, self.aggregator) if module is not None]

    def hallucinate(self, pyramid: Pyramid) -> Tensor:
        """Features -> log depth (B, 1, H/4, W/4).

        The depth loss stops at the RGB features, which keep what they know.
        """
        return self.depth_decoder(*(level.detach() for level in pyramid[:3]))

    def join(self, place: Tensor, log_depth: Tensor) -> Tensor:
        """RGB features and log depth -> (B, rgb_channels + depth_channels, H/16, W/16).

        The place loss stops at the depth map, as in Piasco et al.: depth stays depth.
        """
        rgb = normalise_positions(self.rgb_projection(normalise_positions(standardise_channels(place.float()))))
        if self.depth_encoder is None:
            return rgb
        return torch.cat((rgb, normalise_positions(self.depth_encoder(log_depth.detach()))), dim=1)

    def describe(self, place: Tensor, log_depth: Tensor) -> Tensor:
        """RGB features and log depth -> descriptors (B, D) of unit length."""
        return self.aggregator(self.join(place, log_depth))

    @property
    def dimension(self) -> int:
        """D."""
        return self.config.dimension

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        """(B, H, W, 3) uint8 RGB -> everything it says of them; depth, which it hallucinates, is not looked at."""
        pyramid = self.backbone(images)
        log_depth = self.hallucinate(pyramid)
        return Output(self.describe(pyramid.place, log_depth), pyramid.place, log_depth)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 RGB -> (descriptors (B, D) of unit length, depth (B, H/4, W/4) in metres)."""
        output = self.analyse(images)
        assert output.log_depth is not None
        return output.descriptors, metres_from_log_depth(output.log_depth.float()).squeeze(1)


class DepthBackbone(nn.Module):
    """(B, 1, H / 4, W / 4) log depth -> (B, outputs, H / 16, W / 16) by an image encoder, which sees a grey picture.

    Its features are standardised like the image's. Unlike four convolutions it starts from shapes it knows and sees
    the whole scene at once, for a quarter of the image encoder's time.
    """

    def __init__(self, backbone: Backbone, outputs: int, side: int) -> None:
        super().__init__()
        self.backbone, self.side = backbone, side
        self.projection = nn.Conv2d(backbone.channels[2], outputs, 1)

    def forward(self, log_depth: Tensor) -> Tensor:
        features = encode_depth(self.backbone, log_depth, (self.side, self.side)).stride16
        projected = self.projection(normalise_positions(standardise_channels(features.float())))
        rows, columns = int(log_depth.shape[2]) // 4, int(log_depth.shape[3]) // 4
        return F.interpolate(projected, (rows, columns), mode="bilinear", align_corners=False)


def _depth_encoder(config: NetworkConfig, weights: Path | None) -> nn.Module:
    if not config.depth_backbone:
        return DepthEncoder(config.depth_channels)
    alike = config.depth_backbone == config.backbone
    backbone = build_backbone(config.depth_backbone, weights if alike else None)
    return DepthBackbone(backbone, config.depth_channels, config.depth_side)


Network = DeMixVPR | PlaceNetwork


def standardise_channels(features: Tensor) -> Tensor:
    """(B, C, h, w) -> zero mean and unit variance of every channel over the image (instance norm).

    The means are what light, weather and season add everywhere; what is left says where things are (Huang and Belongie
    2017 call the statistics an image's style).
    """
    centred = features - features.mean((2, 3), keepdim=True)
    return centred * (centred.square().mean((2, 3), keepdim=True) + 1e-4).rsqrt()


def normalise_positions(features: Tensor) -> Tensor:
    """(B, C, h, w) -> the same with a root mean square of one over the channels at every position.

    What a position shows then counts, and not how strongly: a bright sky or a sign in the sun no longer outvotes the
    rest of the image (CrossLocate and NetVLAD normalise local features for the same reason; MixVPR does not).
    """
    return F.normalize(features, dim=1) * features.shape[1] ** 0.5
