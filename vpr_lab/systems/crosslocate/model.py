"""The network of CrossLocate: one branch describes photographs and rendered views alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vpr_lab.network.backbones import BACKBONES, Backbone, build_backbone, feature_shape
from vpr_lab.network.heads import Head, HeadConfig, build_head
from vpr_lab.simulation.triangles import Segment
from vpr_lab.simulation.views import ViewDatabase
from vpr_lab.systems.crosslocate.data import Queries
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError

MODALITIES = ("depth", "seg_sil_dep")
_BATCH = 16


@dataclass(frozen=True)
class CrossLocateConfig:
    """What the network is; the defaults are the paper's but for the range of depth."""

    backbone: str = option("vgg16", "RGB encoder", choices=tuple(BACKBONES))
    weights: str = option("", "file of starting weights for the backbone; empty: random")
    modality: str = option("depth", "what of a view is described", choices=MODALITIES)
    depth_max_m: float = option(200.0, "maximum depth; farther surfaces and the sky are clipped to it", "m", low=1.0)
    size_px: int = option(224, "width and height of views and photographs", "px", low=16, high=2048)


class CrossLocate(nn.Module):
    """Backbone -> L2 over the channels at each position -> global maximum -> L2, for photographs and views."""

    def __init__(self, backbone: Backbone, head: Head, config: CrossLocateConfig) -> None:
        super().__init__()
        self.backbone, self.head, self.config = backbone, head, config

    def forward(self, images: Tensor) -> Tensor:
        """Photographs (B, S, S, 3) uint8 RGB -> (B, D), unit length."""
        return self.head(self.backbone(images).place)

    def describe_planes(self, planes: Tensor) -> Tensor:
        """Views (B, 3, S, S) float32 in 0..1, normalised like a photograph's colours -> (B, D), unit length."""
        own = self.backbone.preprocessing
        mean, std = (torch.tensor(values, device=planes.device)[:, None, None] for values in (own.mean, own.std))
        return self.head(self.backbone.encode((255.0 * planes - mean) / std).place)

    def describe_views(self, database: ViewDatabase, rows: np.ndarray) -> Tensor:
        """Rows of a database -> (N, D)."""
        planes = torch.from_numpy(view_planes(database, rows, self.config))
        return self.describe_planes(planes.to(self._device))

    def describe_queries(self, queries: Queries, rows: np.ndarray) -> Tensor:
        """Photographs by their rows -> (N, D)."""
        return self(torch.from_numpy(queries.images[rows]).to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device


def build_crosslocate(config: CrossLocateConfig) -> CrossLocate:
    """The configured network. Raises ModelError for an unknown backbone or weights that do not fit it."""
    backbone = build_backbone(config.backbone, Path(config.weights) if config.weights else None)
    channels, height, width = feature_shape(backbone, config.size_px, config.size_px)
    head = build_head(HeadConfig(kind="mac", local_norm=True), [channels], height, width)
    return CrossLocate(backbone, head, config)


def check_fit(network: CrossLocate, database: ViewDatabase, queries: Queries) -> None:
    """Raises ConfigError if views and photographs are of two worlds or not of the network's size."""
    if database.world != queries.world:
        raise ConfigError(
            f"views of {database.world} do not fit photographs of {queries.world}: give both of one world"
        )
    size, sizes = network.config.size_px, (database.depth.shape[1], queries.images.shape[1])
    if sizes != (size, size):
        raise ConfigError(
            f"the network takes {size} pixels, the views of {database.world} have {sizes[0]} and its photographs "
            f"{sizes[1]}: make them equal"
        )


def view_planes(database: ViewDatabase, rows: np.ndarray, config: CrossLocateConfig) -> np.ndarray:
    """What the network sees of rendered views: (N, 3, S, S) float32 in 0..1.

    "depth": metres over depth_max_m, the sky being 1, in all three. "seg_sil_dep": the number of the class over the
    largest one; silhouettes; depth as before. The paper feeds raw metres; in 0..1, normalised like colours, they are
    what ImageNet's weights are used to, and batch norm can follow.
    """
    metres = np.asarray(database.depth[rows], np.float32)
    depth = np.where(metres > 0, np.minimum(metres / config.depth_max_m, 1.0), 1.0).astype(np.float32)
    if config.modality == "depth":
        return np.repeat(depth[:, None], 3, axis=1)
    segments = np.asarray(database.segments[rows], np.float32) / float(max(Segment))
    return np.stack([segments, np.asarray(database.silhouettes[rows], np.float32), depth], axis=1)


@torch.inference_mode()
def describe_all(describe: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> Tensor:
    """(N, D) on the CPU: a method of the network over many rows, in batches."""
    return torch.cat([describe(part).float().cpu() for part in _parts(rows)])


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), _BATCH):
        yield rows[first : first + _BATCH]
