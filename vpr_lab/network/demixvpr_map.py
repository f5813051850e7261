"""DeMixVPR with a vocabulary of the map's own images: frozen features, pooled in two ways, projected as the map shows.

Features of the image and of the hallucinated depth are joined at every position, as in DeMixVPR. They are averaged over
regions, which says where things are, and summed up as NetVLAD's residuals to visual words, which says what there is.
Words, mean and projection are learnt from each map's images (``vpr_ros.inference.vocabulary``) and are inputs of the
exported graph, so nothing that the features know is lost to a projection that was learnt from other images. Training
only adds to the features (``mix_change``, ``word_change``), starting from nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.aggregators import k_means, regions
from vpr_lab.network.backbones import feature_shape
from vpr_lab.network.config import NetworkConfig
from vpr_lab.network.demixvpr import standardise_channels
from vpr_lab.network.depth import metres_from_log_depth
from vpr_lab.network.static import resized_to, size_of, unit
from vpr_lab.network.systems import WithDepth

_SHARPNESS = 20.0  # of the assignment to words: exp(-sharpness * squared distance)
_CELL = 4  # pixels of the depth map at each position of the features
_DEPTH_WEIGHT = 0.3  # of the depth's features beside the image's of unit length


class MapDeMixVPR(WithDepth):
    """Image -> descriptor and depth; the descriptor depends on ``words``, ``mean`` and ``projection``.

    These buffers are the model's own vocabulary. ``exported`` takes another one.
    """

    HEAD_PARTS = ("mix_change", "word_change")

    regions: Tensor
    token_mean: Tensor
    words: Tensor
    mean: Tensor
    projection: Tensor

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights)
        self.add_decoder(weights)
        channels, rows, columns = feature_shape(self.backbone, config.height, config.width)
        self.geometry = _CELL * _CELL if config.depth_channels else 0
        joined = channels + self.geometry
        self.mix_change, self.word_change = (nn.Linear(joined, joined, bias=False) for _ in range(2))
        for change in (self.mix_change, self.word_change):
            nn.init.zeros_(change.weight)
        count, half = config.vlad_clusters, config.out_channels * config.out_rows
        self.dimension = 2 * half
        self.register_buffer("regions", regions(rows, columns, count))
        self.register_buffer("token_mean", torch.zeros(joined))
        self.register_buffer("words", torch.randn(count, joined) / joined**0.5)
        self.register_buffer("mean", torch.zeros(2, count * joined))
        random = torch.Generator().manual_seed(config.vlad_clusters)
        directions = [torch.linalg.qr(torch.randn(count * joined, half, generator=random))[0] for _ in range(2)]
        self.register_buffer("projection", torch.stack(directions))

    @property
    def vocabulary(self) -> dict[str, Tensor]:
        """The model's own, by the names of the graph's inputs."""
        return {"words": self.words, "mean": self.mean, "projection": self.projection}

    def describe(self, *observed: Tensor) -> Tensor:
        return self.project(self.raw(self.words, *observed), self.mean, self.projection)

    def tokens(self, features: Tensor, log_depth: Tensor) -> Tensor:
        """Features (B, C, h, w) of the image and log depth -> (B, h * w, C + geometry), local features of unit length.

        What all images have is subtracted.
        """
        joined = unit(self._join(features, log_depth), dim=2)
        centred = unit(joined - self.token_mean, dim=2)
        return unit(centred + self.word_change(centred), dim=2)

    def raw(self, words: Tensor, features: Tensor, log_depth: Tensor) -> Tensor:
        """Words, features, log depth -> (B, 2, R): averages over regions, residuals to words, of unit length each."""
        weights = self.backbone.layout_weights
        joined = self._join(standardise_channels(features), standardise_channels(log_depth), weights)
        averages = (self.regions @ (joined + self.mix_change(joined))).transpose(1, 2)
        tokens = self.tokens(features, log_depth)
        shares = torch.softmax(_SHARPNESS * (2 * tokens @ words.T - words.square().sum(1)), dim=2).transpose(1, 2)
        residuals = unit(shares @ tokens - shares.sum(2, keepdim=True) * words, dim=2)
        size = int(self.mean.shape[1])
        return unit(torch.stack((averages.reshape(-1, size), residuals.reshape(-1, size)), dim=1), dim=2)

    def project(self, raw: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
        """(B, 2, R) -> (B, D), unit length: the parts in turn, so that the first numbers serve alone."""
        centred = unit(raw - mean, dim=2)
        parts = unit(centred.transpose(0, 1) @ projection, dim=2)
        return parts.permute(1, 2, 0).reshape(-1, self.dimension) * 0.5**0.5

    def _join(self, features: Tensor, log_depth: Tensor, weights: Sequence[float] = ()) -> Tensor:
        """(B, C, h, w) and log depth (B, 1, 4 h, 4 w) -> (B, h * w, C + geometry).

        Each stage has unit length, times its weight.
        """
        ends = np.cumsum(self.backbone.place_parts or self.backbone.channels[3:]).tolist()
        stages = [unit(features[:, start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        if weights:
            stages = [weight * stage for weight, stage in zip(weights, stages, strict=True)]
        if self.geometry:
            rows, columns = size_of(features)
            log_depth = resized_to(log_depth.float(), _CELL * rows, _CELL * columns)
            centred = log_depth - log_depth.mean((2, 3), keepdim=True)
            picks = torch.eye(self.geometry, device=features.device).reshape(self.geometry, 1, _CELL, _CELL)
            stages.append(_DEPTH_WEIGHT * unit(F.conv2d(centred, picks, stride=_CELL)))
        joined = torch.cat(stages, dim=1)
        rows, columns = size_of(joined)
        return joined.reshape(-1, int(joined.shape[1]), rows * columns).transpose(1, 2)

    def compared(self, *observed: Tensor) -> Tensor:
        """As a map's vocabulary would have it of a batch: without the batch's mean, and not projected."""
        raw = self.raw(self.words, *observed)
        return unit(raw - raw.mean(0), dim=2).flatten(1) * 0.5**0.5

    def exported(
        self, images: Tensor, words: Tensor, mean: Tensor, projection: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, H, W, 3) uint8 and a vocabulary -> descriptors, depth in metres, what vocabularies are learnt from."""
        features, log_depth = self.observe(images)
        raw = self.raw(words, features, log_depth)
        depth = metres_from_log_depth(log_depth.float()).squeeze(1)
        return self.project(raw, mean, projection), depth, self.tokens(features, log_depth), raw

    @torch.no_grad()
    def initialise_head(self, *observed: Tensor) -> None:
        """The model's own words and means, of some images. Its projection stays random, which favours no world."""
        self.token_mean.zero_()
        self.token_mean.copy_(unit(self._join(observed[0], observed[1]), dim=2).mean((0, 1)))
        self.refresh(*observed)

    @torch.no_grad()
    def refresh(self, *observed: Tensor) -> None:
        """Words and means, of some images: features change while they are trained."""
        self.words.copy_(k_means(self.tokens(*observed).flatten(0, 1), len(self.words)))
        self.mean.copy_(self.raw(self.words, *observed).mean(0))
