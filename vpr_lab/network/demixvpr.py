"""DeMixVPR with hallucinated depth, the shipped model: one camera image to a descriptor and a depth map.

RGB encoder -> decoder with skips -> depth -> depth encoder; both encoders' features, joined -> MixVPR and NetVLAD. The
fusion is Dogru's DeMixVPR; hallucinating the depth it needs from the image is Piasco et al.'s "Learning scene
geometry".
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from vpr_lab.network.aggregators import MixVLAD, MixVPR, NetVLAD
from vpr_lab.network.backbones import Backbone, build_backbone, feature_shape
from vpr_lab.network.config import CONVOLUTIONS, NetworkConfig
from vpr_lab.network.depth import DepthEncoder
from vpr_lab.network.place_network import encode_depth
from vpr_lab.network.static import resized_to, size_of, unit
from vpr_lab.network.systems import WithDepth

_BATCH = 64


class DeMixVPR(WithDepth):
    """Image -> descriptor and depth.

    weights: file of the backbone's starting weights, and of the depth backbone's if it is of the same kind; None for
    random ones. depth_weights: file of the depth backbone's.
    """

    HEAD_PARTS = ("rgb_projection", "depth_encoder", "aggregator")
    starting_images = 256

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights)
        self.add_decoder(weights)
        self.depth_encoder = _depth_encoder(config, weights, depth_weights) if config.depth_channels else None
        self.rgb_projection = nn.Conv2d(self.backbone.channels[3], config.rgb_channels, 1)
        _, self.rows, self.columns = feature_shape(self.backbone, config.height, config.width)
        joined = config.rgb_channels + config.depth_channels
        mix = MixVPR(joined, self.rows * self.columns, config.out_channels, config.out_rows, config.mixers)
        self.dimension = config.out_channels * config.out_rows
        self.aggregator: MixVPR | MixVLAD = mix
        if config.vlad_clusters:
            self.aggregator = MixVLAD(mix, NetVLAD(joined, config.vlad_clusters, config.vlad_channels))
            self.dimension += config.vlad_clusters * config.vlad_channels

    def describe(self, *observed: Tensor) -> Tensor:
        return self.aggregator(self.join(*observed))

    def join(self, features: Tensor, log_depth: Tensor) -> Tensor:
        """RGB features (B, C, h, w) and log depth -> (B, rgb_channels + depth_channels, h, w)."""
        rgb = normalise_positions(self.rgb_projection(normalise_positions(standardise_channels(features.float()))))
        if self.depth_encoder is None:
            return rgb
        return torch.cat((rgb, resized_to(self.depth_features(log_depth), *size_of(rgb))), dim=1)

    def _encoded(self, log_depth: Tensor) -> Tensor:
        assert self.depth_encoder is not None
        return normalise_positions(self.depth_encoder(log_depth))

    @torch.no_grad()
    def initialise_head(self, *observed: Tensor) -> None:
        """Start the head as a good compression of the backbone's features, instead of at random.

        Bare ImageNet features recognise places well if they are averaged over a grid or summed over visual words. A PCA
        over channels says nearly the same with far fewer. MixVPR's projections can hold a PCA and a grid, NetVLAD's
        centroids start as k-means, and MixVPR's mixers start near the identity. Training then improves a descriptor
        that works, and forgets less about images unlike the training set's.
        """
        features, log_depth = observed
        channels = features.shape[1]
        samples = normalise_positions(standardise_channels(features)).permute(0, 2, 3, 1).reshape(-1, channels)
        components = _principal_components(samples, self.config.rgb_channels)
        self.rgb_projection.weight.copy_(components[..., None, None])
        self.rgb_projection.bias.copy_(-components @ samples.mean(0))  # type: ignore[union-attr]
        batches = zip(features.split(_BATCH), log_depth.split(_BATCH), strict=True)
        joined = torch.cat([self.join(*batch) for batch in batches])
        self.aggregator.initialise(joined, self.rows, self.columns)


class DepthBackbone(nn.Module):
    """(B, 1, H / 4, W / 4) log depth -> (B, outputs, H / 16, W / 16) by an image encoder, which sees a grey image.

    Its features are standardised like the image's. Unlike four convolutions it starts from pretrained shapes and sees
    the whole scene at once, in a quarter of the image encoder's time.
    """

    def __init__(self, backbone: Backbone, outputs: int, side: int) -> None:
        super().__init__()
        self.backbone, self.side = backbone, side
        self.projection = nn.Conv2d(backbone.channels[2], outputs, 1)

    def forward(self, log_depth: Tensor) -> Tensor:
        features = encode_depth(self.backbone, log_depth, self.side, self.side).stride16
        projected = self.projection(normalise_positions(standardise_channels(features.float())))
        rows, columns = size_of(log_depth)
        return resized_to(projected, rows // 4, columns // 4)


def _depth_encoder(config: NetworkConfig, weights: Path | None, depth_weights: Path | None) -> nn.Module:
    if config.depth_backbone == CONVOLUTIONS:
        return DepthEncoder(config.depth_channels)
    name = config.depth_backbone or config.backbone
    backbone = build_backbone(name, depth_weights or (weights if name == config.backbone else None))
    return DepthBackbone(backbone, config.depth_channels, config.depth_side)


def standardise_channels(features: Tensor) -> Tensor:
    """(B, C, h, w) -> zero mean and unit variance of every channel over the image (instance norm).

    The means hold what light, weather and season add everywhere; what is left says where things are (Huang and Belongie
    2017 call these statistics an image's style).
    """
    centred = features - features.mean((2, 3), keepdim=True)
    return centred * (centred.square().mean((2, 3), keepdim=True) + 1e-4).rsqrt()


def normalise_positions(features: Tensor) -> Tensor:
    """(B, C, h, w) -> the same with a root mean square of one over the channels at every position.

    A position's content then counts, not its strength: a bright sky or a sign in the sun does not outvote the rest of
    the image (CrossLocate and NetVLAD normalise local features for the same reason; MixVPR does not).
    """
    return unit(features) * int(features.shape[1]) ** 0.5


def _principal_components(samples: Tensor, count: int) -> Tensor:
    """(N, C) -> (count, C) orthonormal rows, followed by random ones if C is smaller than count."""
    covariance = torch.cov(samples.T.double())
    components = torch.linalg.eigh(covariance).eigenvectors.flip(1).T[:count]
    if len(components) < count:
        extra = torch.randn(count - len(components), components.shape[1], dtype=torch.double)
        components = torch.cat((components, unit(extra)))
    return components.float()
