"""Heads: from one or two encoders' feature maps to one descriptor, by name.

Every head ends in unit length, and every one but MixVPR takes maps of any size. A head for one map joins several
streams along the channels, which is DeMixVPR's fusion; ``concat_gem`` and ``attention`` treat them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.aggregators import MixVPR, NetVLAD
from vpr_lab.network.static import unit
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError

MIX_ROWS = 4  # of MixVPR's descriptor, as in the paper
_ATTENTION_CHANNELS, _ATTENTION_MAPS = 64, 4


class Head(nn.Module):
    """Feature maps -> descriptors of ``dimension`` dimensions. Subclasses say how in ``describe``.

    local_norm: unit length over the channels at every position of every stream first, as in CrossLocate and CosPlace.
    """

    def __init__(self, dimension: int, local_norm: bool) -> None:
        super().__init__()
        self.dimension, self.local_norm = dimension, local_norm

    def forward(self, *streams: Tensor) -> Tensor:
        """Maps (B, C_k, h, w) of one size -> (B, dimension), unit length."""
        return unit(self.describe(*self._prepare(streams)).float())

    def describe(self, *streams: Tensor) -> Tensor:
        """Maps (B, C_k, h, w) -> (B, dimension) of any length."""
        raise NotImplementedError

    def initialise(self, *streams: Tensor) -> None:
        """Start from the feature maps (N, C_k, h, w) of some images; only NetVLAD has something to learn from them."""

    def _prepare(self, streams: Sequence[Tensor]) -> list[Tensor]:
        return [unit(x.float()) if self.local_norm else x.float() for x in streams]


class GeM(nn.Module):
    """Generalised mean of every channel, (B, C, h, w) -> (B, C, 1, 1) (Radenovic et al. 2018).

    The learned exponent moves between the average, 1, and the maximum, infinity. Values below eps count as eps.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p, self.eps = nn.Parameter(torch.tensor(p)), eps

    def forward(self, features: Tensor) -> Tensor:
        return features.clamp(min=self.eps).pow(self.p).mean((2, 3), keepdim=True).pow(1 / self.p)


class PooledHead(Head):
    """Pool -> L2 -> Linear; dimension 0 leaves the Linear out. Without pooled_norm, as in CosPlace, pool -> Linear."""

    def __init__(
        self, pool: Callable[[], nn.Module], config: HeadConfig, channels: Sequence[int], height: int, width: int
    ) -> None:
        super().__init__(config.dimension or sum(channels), config.local_norm)
        self.pool = pool()
        self.pooled_norm = config.pooled_norm
        self.projection = _projection(sum(channels), config.dimension)

    def describe(self, *streams: Tensor) -> Tensor:
        pooled = self.pool(torch.cat(streams, dim=1)).flatten(1)
        return self.projection(unit(pooled) if self.pooled_norm else pooled)


class NetVLADHead(Head):
    """NetVLAD as published, all channels times all clusters; with a dimension, a Linear makes it shorter."""

    def __init__(self, config: HeadConfig, channels: Sequence[int], height: int, width: int) -> None:
        length = config.clusters * sum(channels)
        super().__init__(config.dimension or length, config.local_norm)
        self.vlad = NetVLAD(sum(channels), config.clusters)
        self.projection = _projection(length, config.dimension)

    def describe(self, *streams: Tensor) -> Tensor:
        return self.projection(self.vlad(torch.cat(streams, dim=1)))

    @torch.no_grad()
    def initialise(self, *streams: Tensor) -> None:
        """Visual words from k-means of the maps' local features. Raises ConfigError for fewer features than words."""
        features = torch.cat(self._prepare(streams), dim=1)
        positions = len(features) * features.shape[2] * features.shape[3]
        if positions < len(self.vlad.centroids):
            raise ConfigError(
                f"{len(self.vlad.centroids)} clusters of netvlad cannot start from {positions} local features: "
                "give more images, or set fewer clusters"
            )
        self.vlad.learn_words(features)


class MixVPRHead(Head):
    """MixVPR as published: a quarter of ``dimension`` out channels times four rows, for maps of one size only."""

    def __init__(self, config: HeadConfig, channels: Sequence[int], height: int, width: int) -> None:
        if config.dimension < MIX_ROWS or config.dimension % MIX_ROWS:
            raise ConfigError(f"the dimension of mixvpr must be a multiple of {MIX_ROWS}, not {config.dimension}")
        super().__init__(config.dimension, config.local_norm)
        self.height, self.width = height, width
        self.mix = MixVPR(sum(channels), height * width, config.dimension // MIX_ROWS, MIX_ROWS, config.mixers)
        self.mix.offset.requires_grad_(False)  # the paper has none: it stays zero

    def describe(self, *streams: Tensor) -> Tensor:
        height, width = streams[0].shape[2:]
        if not torch.jit.is_tracing() and (height, width) != (self.height, self.width):
            raise ConfigError(
                f"mixvpr was built for feature maps of {self.height} x {self.width}, not {height} x {width}: "
                "give images of the size it was trained on"
            )
        return self.mix(torch.cat(streams, dim=1))


class ConcatGeMHead(Head):
    """A GeM for every stream, joined -> Linear."""

    def __init__(self, config: HeadConfig, channels: Sequence[int], height: int, width: int) -> None:
        super().__init__(config.dimension or sum(channels), config.local_norm)
        self.pools = nn.ModuleList(GeM() for _ in channels)
        self.projection = _projection(sum(channels), config.dimension)

    def describe(self, *streams: Tensor) -> Tensor:
        pooled = [pool(x).flatten(1) for pool, x in zip(self.pools, streams, strict=True)]
        return self.projection(torch.cat(pooled, dim=1))


class AttentionHead(Head):
    """DeAttVPR: image and depth together say where to look; the image's features there -> GeM -> Linear.

    The first convolutions are 3 x 3. The two after the product are 1 x 1, a choice of ours: they weigh what the first
    ones found at each position.
    """

    def __init__(self, config: HeadConfig, channels: Sequence[int], height: int, width: int) -> None:
        if len(channels) != 2:
            raise ConfigError(
                f"attention needs two streams, image and depth, not {len(channels)}: choose a system with a depth "
                "encoder, or another head"
            )
        super().__init__(config.dimension or channels[0], config.local_norm)
        self.reductions = nn.ModuleList(nn.Conv2d(c, _ATTENTION_CHANNELS, 3, padding=1) for c in channels)
        self.compare = nn.Conv2d(_ATTENTION_CHANNELS, _ATTENTION_MAPS, 1)
        self.merge = nn.Conv2d(_ATTENTION_MAPS, 1, 1)
        self.pool = GeM()
        self.projection = _projection(channels[0], config.dimension)

    def describe(self, *streams: Tensor) -> Tensor:
        image, _ = streams
        return self.projection(self.pool(image * self.attend(*streams)).flatten(1))

    def attend(self, image: Tensor, depth: Tensor) -> Tensor:
        """Two maps (B, C_k, h, w) -> (B, 1, h, w) weights in 0..1."""
        first, second = (F.relu(reduce(x)) for reduce, x in zip(self.reductions, (image, depth), strict=True))
        return torch.sigmoid(self.merge(torch.softmax(self.compare(first * second), dim=1)))


def _projection(length: int, dimension: int) -> nn.Module:
    return nn.Linear(length, dimension) if dimension else nn.Identity()


HEADS: dict[str, Callable[[HeadConfig, Sequence[int], int, int], Head]] = {
    "average": partial(PooledHead, partial(nn.AdaptiveAvgPool2d, 1)),
    "gem": partial(PooledHead, GeM),
    "mac": partial(PooledHead, partial(nn.AdaptiveMaxPool2d, 1)),
    "netvlad": NetVLADHead,
    "mixvpr": MixVPRHead,
    "concat_gem": ConcatGeMHead,
    "attention": AttentionHead,
}


@dataclass(frozen=True)
class HeadConfig:
    """What makes the descriptor; travels in every checkpoint."""

    kind: str = option("gem", "layer that turns feature maps into a descriptor", choices=tuple(HEADS))
    dimension: int = option(
        0, "dimensions of the descriptor; 0: no projection (mixvpr: a multiple of 4)", low=0, high=65536
    )
    clusters: int = option(64, "visual words of netvlad", low=1, high=4096)
    mixers: int = option(4, "feature mixers of mixvpr", low=0, high=32)
    local_norm: bool = option(False, "normalise the features of every position to unit length first")
    pooled_norm: bool = option(True, "normalise pooled features before the projection; CosPlace does not")


def build_head(config: HeadConfig, channels: Sequence[int], height: int, width: int) -> Head:
    """The configured head for streams of so many channels each and maps of height x width.

    Raises ConfigError for an unknown name or a head that does not fit the streams.
    """
    if config.kind not in HEADS:
        raise ConfigError(f"unknown head {config.kind!r}: choose one of {', '.join(HEADS)}")
    return HEADS[config.kind](config, channels, height, width)
