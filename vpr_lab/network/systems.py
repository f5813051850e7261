"""The published systems as networks: an image, sometimes with depth, in; a descriptor out.

Each is a backbone, heads, and what it does with depth:

- ``Single``: one stream, of the image or of a depth map (GeM, MAC, NetVLAD, MixVPR, CosPlace, ...);
- ``TwoStreams``: image and depth encoded apart, fused by one head (DeMixVPR, concat-GeM, DeAttVPR);
- ``RGBtD``: a descriptor of the image beside one of the depth hallucinated from it (Piasco et al.), RGB+ included;
- ``Hallucination``: a second image encoder that learns to give a depth encoder's features (Hoffman et al. 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones import Backbone, Pyramid, build_backbone, feature_shape
from vpr_lab.network.depth import VIEWS, DepthDecoder, log_depth_from_metres, metres_from_log_depth
from vpr_lab.network.heads import Head, HeadConfig, build_head
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError


class Output(NamedTuple):
    """What a network says of a batch.

    descriptors: (B, D) of unit length. features: (B, C, h, w), the RGB encoder's last. log_depth: (B, 1, h, w) in 0..1,
    or None where none is hallucinated. parts: descriptors (B, D_k) of unit length, by stream, of networks that join
    several. imitation: features that were hallucinated and those they should be, where depth was given.
    """

    descriptors: Tensor
    features: Tensor
    log_depth: Tensor | None = None
    parts: Mapping[str, Tensor] = MappingProxyType({})
    imitation: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class SystemConfig:
    """Which network; travels in every checkpoint."""

    kind: str = option("single", "which system", choices=("single", "two_streams", "rgbtd", "hallucination"))
    backbone: str = option("resnet18", "image encoder, by name in backbones.BACKBONES")
    depth_backbone: str = option("", "depth encoder, by name; empty: as the image's")
    decoder_backbone: str = option(
        "", "image encoder that the decoder has to itself; empty: it reads the other's layers"
    )
    head: HeadConfig = field(default_factory=HeadConfig)
    depth: str = option("hallucinated", "where depth comes from", choices=("hallucinated", "true"))
    depth_as_image: bool = option(False, "single: encode the depth map instead of the image")
    depth_view: str = option("log", "what the depth encoder sees of depth", choices=tuple(VIEWS))
    depth_taught_by: str = option(
        "depth",
        "losses that reach the decoder: depth's alone, the place loss too (then depth's reaches the image encoder), or "
        "the place loss alone, which is RGB+",
        choices=("depth", "both", "place"),
    )
    height: int = option(224, "of the input", "px", low=16, high=2048)
    width: int = option(224, "of the input", "px", low=16, high=2048)


class PlaceNetwork(nn.Module):
    """What every system offers. dimension: D. backbone: the image encoder. hallucinates: whether it gives depth."""

    backbone: Backbone
    dimension: int
    hallucinates = False

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.config = config

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        """(B, H, W, 3) uint8 RGB, and (B, h, w) metres, 0 unknown, infinite sky, for networks that are given depth."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """As exported: (B, H, W, 3) uint8 RGB -> descriptors (B, D), and depth (B, H/4, W/4) in metres or None."""
        output = self.analyse(images)
        depth = None if output.log_depth is None else metres_from_log_depth(output.log_depth.float()).squeeze(1)
        return output.descriptors, depth

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        """Start the heads from some images, as NetVLAD's clusters want it."""
        raise NotImplementedError

    def _log_depth(self, depth_m: Tensor | None) -> Tensor:
        """True depth as the decoder would give it, (B, 1, h, w) in 0..1, unknown pixels far away."""
        if depth_m is None:
            raise ConfigError("this system is given depth: it runs on drives with depth only, not on a lone camera")
        known = depth_m > 0
        if not torch.jit.is_tracing() and not known.any():
            raise ConfigError("this system is given depth, and a drive has none: cache drives with depth for it")
        return torch.where(known, log_depth_from_metres(depth_m), torch.ones_like(depth_m))[:, None]

    def _encode_depth(self, encoder: Backbone, log_depth: Tensor) -> Tensor:
        """Features of a depth map (B, 1, h, w), shown as an image of the network's size."""
        view = VIEWS[self.config.depth_view](log_depth.float())
        return encode_depth(encoder, view, (self.config.height, self.config.width)).place


def encode_depth(encoder: Backbone, view: Tensor, size: tuple[int, int]) -> Pyramid:
    """What an image encoder makes of a depth map (B, 1 or 3, h, w) in 0..1, shown as a grey image (Piasco et al.)."""
    image = 255 * F.interpolate(view.float(), size, mode="bilinear", align_corners=False)
    own = encoder.preprocessing
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (own.mean, own.std))
    return encoder.encode((image - mean) / std)


class Single(PlaceNetwork):
    """One stream and its head."""

    def __init__(self, config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone, weights)
        self.head = _head(config, [self.backbone])
        self.dimension = self.head.dimension

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features = self._features(images, depth_m)
        return Output(self.head(features), features)

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        self.head.initialise(self._features(images, depth_m))

    def _features(self, images: Tensor, depth_m: Tensor | None) -> Tensor:
        if self.config.depth_as_image:
            return self._encode_depth(self.backbone, self._log_depth(depth_m))
        return self.backbone(images).place


class _WithDepth(PlaceNetwork):
    """An image encoder, a decoder where depth is hallucinated, and a depth encoder."""

    def __init__(self, config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone, weights)
        own = not config.depth_backbone or config.depth_backbone == config.backbone
        of_depth = depth_weights or (weights if own else None)
        self.depth_backbone = build_backbone(config.depth_backbone or config.backbone, of_depth)
        self.hallucinates = config.depth == "hallucinated" and config.depth_taught_by != "place"
        decodes = config.depth == "hallucinated"
        self.decoder_backbone: Backbone | None = None
        if decodes and config.decoder_backbone:
            same = config.decoder_backbone == config.backbone
            self.decoder_backbone = build_backbone(config.decoder_backbone, weights if same else None)
        read = self.decoder_backbone or self.backbone
        self.depth_decoder = DepthDecoder(read.channels[:3]) if decodes else None

    def _streams(self, images: Tensor, depth_m: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features of the image, features of the depth, and the log depth where it was hallucinated.

        Taught by depth alone, neither loss reaches into the other's part: depth stays depth, and the image encoder
        keeps what it knows. The papers' two optimisers in alternation are then one backward pass, since every weight
        has one loss.
        """
        pyramid = self.backbone(images)
        if self.depth_decoder is None:
            return pyramid.place, self._encode_depth(self.depth_backbone, self._log_depth(depth_m)), None
        apart = self.config.depth_taught_by == "depth"
        if self.decoder_backbone is None:
            levels = [level.detach() if apart else level for level in pyramid[:3]]
        else:
            levels = list(self.decoder_backbone(images)[:3])
        size = images.shape[1] // 4, images.shape[2] // 4
        log_depth = self.depth_decoder(*levels, size=size)
        seen = log_depth.detach() if apart else log_depth
        # What the place loss alone has taught a decoder is no depth, and is not told as such.
        told = log_depth if self.hallucinates else None
        return pyramid.place, self._encode_depth(self.depth_backbone, seen), told


class TwoStreams(_WithDepth):
    """Image and depth, fused by one head before it sums up the positions."""

    def __init__(self, config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights, depth_weights)
        self.head = _head(config, [self.backbone, self.depth_backbone])
        self.dimension = self.head.dimension

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features, of_depth, log_depth = self._streams(images, depth_m)
        return Output(self.head(features, _like(of_depth, features)), features, log_depth)

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        features, of_depth, _ = self._streams(images, depth_m)
        self.head.initialise(features, _like(of_depth, features))


class RGBtD(_WithDepth):
    """Two descriptors joined: of the image, and of the depth hallucinated from it."""

    def __init__(self, config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights, depth_weights)
        self.head, self.depth_head = _head(config, [self.backbone]), _head(config, [self.depth_backbone])
        self.dimension = self.head.dimension + self.depth_head.dimension

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features, of_depth, log_depth = self._streams(images, depth_m)
        parts = {"image": self.head(features), "depth": self.depth_head(of_depth)}
        return Output(_joined(parts), features, log_depth, parts)

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        features, of_depth, _ = self._streams(images, depth_m)
        self.head.initialise(features)
        self.depth_head.initialise(of_depth)


class Hallucination(PlaceNetwork):
    """Two image encoders; the second learns by L1 to give the features of ``teacher``, a trained depth encoder."""

    def __init__(self, config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config)
        depth_backbone = config.depth_backbone or config.backbone
        self.backbone = build_backbone(config.backbone, weights)
        own = depth_weights or (weights if depth_backbone == config.backbone else None)
        self.hallucinating = build_backbone(depth_backbone, own)
        self.teacher = build_backbone(depth_backbone).requires_grad_(False)
        self.head, self.depth_head = _head(config, [self.backbone]), _head(config, [self.hallucinating])
        self.dimension = self.head.dimension + self.depth_head.dimension

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features, hallucinated = self._streams(images)
        parts = {"image": self.head(features), "depth": self.depth_head(hallucinated)}
        imitation = None
        if depth_m is not None:
            with torch.no_grad():
                imitation = hallucinated, self._encode_depth(self.teacher, self._log_depth(depth_m))
        return Output(_joined(parts), features, None, parts, imitation)

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        features, hallucinated = self._streams(images)
        self.head.initialise(features)
        self.depth_head.initialise(hallucinated)

    def train(self, mode: bool = True) -> Hallucination:
        super().train(mode)
        self.teacher.eval()
        return self

    def _streams(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.backbone(images).place, self.hallucinating(images).place


SYSTEMS: dict[str, type[Single] | type[TwoStreams] | type[RGBtD] | type[Hallucination]] = {
    "single": Single,
    "two_streams": TwoStreams,
    "rgbtd": RGBtD,
    "hallucination": Hallucination,
}


def sized(images: Tensor, config: Any) -> Tensor:
    """(B, H, W, 3) uint8 -> the same at a network's own size; config: has height and width."""
    own = config.height, config.width
    if tuple(images.shape[1:3]) == own:
        return images
    resized = F.interpolate(images.permute(0, 3, 1, 2).float(), own, mode="bilinear", antialias=True)
    return resized.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)


def build_system(config: SystemConfig, weights: Path | None = None, depth_weights: Path | None = None) -> PlaceNetwork:
    """A system by its configuration.

    weights: file of the image encoder's starting weights, or None for random ones. depth_weights: of the depth
    encoder's; None takes the image encoder's where both are of one kind.
    """
    return SYSTEMS[config.kind](config, weights, depth_weights)


def _head(config: SystemConfig, backbones: list[Backbone]) -> Head:
    """The configured head for the feature maps of some encoders, which take the first one's size."""
    shapes = [feature_shape(backbone, config.height, config.width) for backbone in backbones]
    return build_head(config.head, [shape[0] for shape in shapes], *shapes[0][1:])


def _like(features: Tensor, other: Tensor) -> Tensor:
    """A feature map at another one's size."""
    if features.shape[2:] == other.shape[2:]:
        return features
    return F.interpolate(features, other.shape[2:], mode="bilinear", align_corners=False)


def _joined(parts: dict[str, Tensor]) -> Tensor:
    """Descriptors of unit length -> one of unit length, each with equal weight."""
    return torch.cat(list(parts.values()), dim=1) * len(parts) ** -0.5
