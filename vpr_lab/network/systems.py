"""The published systems as networks. Each is a backbone, heads, and a use of depth:

- ``Single``: one stream, of the image or of a depth map (GeM, MAC, NetVLAD, MixVPR, CosPlace, ...);
- ``TwoStreams``: image and depth encoded separately, fused by one head (DeMixVPR's fusion, concat-GeM, DeAttVPR);
- ``RGBtD``: a descriptor of the image and one of the depth hallucinated from it (Piasco et al.), RGB+ included;
- ``Hallucination``: a second image encoder that learns to give a depth encoder's features (Hoffman et al. 2016).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vpr_lab.network.backbones import Backbone, Pyramid, build_backbone, feature_shape
from vpr_lab.network.config import NetworkConfig
from vpr_lab.network.depth import DepthDecoder
from vpr_lab.network.heads import Head, build_head
from vpr_lab.network.place_network import Output, PlaceNetwork
from vpr_lab.network.static import resized_to, size_of


class Single(PlaceNetwork):
    """One stream and its head."""

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone, weights)
        self.head = _head(config, [self.backbone])
        self.dimension = self.head.dimension

    def observe(self, images: Tensor, depth_m: Tensor | None = None) -> tuple[Tensor, ...]:
        if self.config.depth_as_image:
            return (self.encode_depth(self.backbone, self.log_depth_of(depth_m)),)
        return (self.backbone(images).place,)

    def describe(self, *observed: Tensor) -> Tensor:
        return self.head(*observed)

    def initialise_head(self, *observed: Tensor) -> None:
        self.head.initialise(*observed)


class WithDepth(PlaceNetwork):
    """An image encoder, a depth encoder, and a decoder if depth is hallucinated.

    ``observe`` returns features of the image (B, C, h, w) and log depth (B, 1, h, w).

    With ``depth_taught_by: depth`` no loss reaches the other's part: the depth loss stops at the image features, the
    place loss at the depth map. The papers' two optimisers in alternation are then one backward pass, since every
    weight has one loss.
    """

    def __init__(self, config: NetworkConfig, weights: Path | None) -> None:
        super().__init__(config)
        self.backbone = build_backbone(config.backbone, weights)
        self.decoder_backbone: Backbone | None = None
        self.depth_decoder: DepthDecoder | None = None

    def add_decoder(self, weights: Path | None) -> None:
        """The depth decoder, if depth is hallucinated, and its own image encoder, if it has one."""
        config = self.config
        if config.depth != "hallucinated":
            return
        self.hallucinates = config.depth_taught_by != "place"  # what the place loss alone teaches is not depth
        if config.decoder_backbone:
            same = config.decoder_backbone == config.backbone
            self.decoder_backbone = build_backbone(config.decoder_backbone, weights if same else None)
        self.depth_decoder = DepthDecoder((self.decoder_backbone or self.backbone).channels[:3])

    def observe(self, images: Tensor, depth_m: Tensor | None = None) -> tuple[Tensor, ...]:
        pyramid = self.backbone(images)
        if self.depth_decoder is None:
            return pyramid.place, self.log_depth_of(depth_m)
        return pyramid.place, self._hallucinate(self.depth_decoder, images, pyramid)

    def _hallucinate(self, decoder: DepthDecoder, images: Tensor, pyramid: Pyramid) -> Tensor:
        """Log depth (B, 1, H/4, W/4)."""
        if self.decoder_backbone is not None:
            levels = list(self.decoder_backbone(images)[:3])
        else:
            levels = [level.detach() if self._apart else level for level in pyramid[:3]]
        return decoder(*levels, size=(images.shape[1] // 4, images.shape[2] // 4))

    def depth_features(self, log_depth: Tensor) -> Tensor:
        """Log depth (B, 1, h, w) -> the depth encoder's features (B, C, h', w')."""
        return self._encoded(log_depth.detach() if self._apart else log_depth)

    def _encoded(self, log_depth: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _apart(self) -> bool:
        return self.config.depth_taught_by == "depth"


class _WithDepthBackbone(WithDepth):
    """Depth is encoded by an image encoder, at the network's input size."""

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights)
        name = config.depth_backbone or config.backbone
        self.depth_backbone = build_backbone(name, depth_weights or (weights if name == config.backbone else None))
        self.add_decoder(weights)

    def _encoded(self, log_depth: Tensor) -> Tensor:
        return self.encode_depth(self.depth_backbone, log_depth)


class TwoStreams(_WithDepthBackbone):
    """Image and depth features, fused by one head before it pools over positions."""

    HEAD_PARTS = ("depth_backbone", "head")

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights, depth_weights)
        self.head = _head(config, [self.backbone, self.depth_backbone])
        self.dimension = self.head.dimension

    def describe(self, *observed: Tensor) -> Tensor:
        features, log_depth = observed
        return self.head(features, _like(self.depth_features(log_depth), features))

    def initialise_head(self, *observed: Tensor) -> None:
        features, log_depth = observed
        self.head.initialise(features, _like(self.depth_features(log_depth), features))


class _TwoDescriptors(PlaceNetwork):
    """A descriptor of the image and one of the second stream, with equal weight."""

    head: Head
    depth_head: Head

    def parts(self, *observed: Tensor) -> dict[str, Tensor]:
        """What ``observe`` returned -> descriptors (B, D_k) of unit length, by stream."""
        features, second = observed
        return {"image": self.head(features), "depth": self.depth_head(self.second_stream(second))}

    def second_stream(self, observed: Tensor) -> Tensor:
        """What ``observe`` returned besides the image's features -> features (B, C, h, w)."""
        raise NotImplementedError

    def describe(self, *observed: Tensor) -> Tensor:
        return _joined(self.parts(*observed))

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features, second = self.observe(images, depth_m)
        parts = self.parts(features, second)
        return Output(_joined(parts), features, second if self.hallucinates else None, parts)

    def initialise_head(self, *observed: Tensor) -> None:
        features, second = observed
        self.head.initialise(features)
        self.depth_head.initialise(self.second_stream(second))


class RGBtD(_TwoDescriptors, _WithDepthBackbone):
    """Two descriptors joined: of the image, and of the depth hallucinated from it."""

    HEAD_PARTS = ("depth_backbone", "head", "depth_head")

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config, weights, depth_weights)
        self.head, self.depth_head = _head(config, [self.backbone]), _head(config, [self.depth_backbone])
        self.dimension = self.head.dimension + self.depth_head.dimension

    def second_stream(self, observed: Tensor) -> Tensor:
        return self.depth_features(observed)


class Hallucination(_TwoDescriptors):
    """Two image encoders; the second learns by L1 to give the features of ``teacher``, a trained depth encoder."""

    HEAD_PARTS = ("head", "depth_head")

    def __init__(self, config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None) -> None:
        super().__init__(config)
        depth_backbone = config.depth_backbone or config.backbone
        self.backbone = build_backbone(config.backbone, weights)
        own = depth_weights or (weights if depth_backbone == config.backbone else None)
        self.hallucinating = build_backbone(depth_backbone, own)
        self.teacher = build_backbone(depth_backbone).requires_grad_(False)
        self.head, self.depth_head = _head(config, [self.backbone]), _head(config, [self.hallucinating])
        self.dimension = self.head.dimension + self.depth_head.dimension

    def observe(self, images: Tensor, depth_m: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.backbone(images).place, self.hallucinating(images).place

    def second_stream(self, observed: Tensor) -> Tensor:
        return observed

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        features, hallucinated = self.observe(images)
        parts = self.parts(features, hallucinated)
        imitation = None
        if depth_m is not None:
            with torch.no_grad():
                imitation = hallucinated, self.encode_depth(self.teacher, self.log_depth_of(depth_m))
        return Output(_joined(parts), features, None, parts, imitation)

    def train(self, mode: bool = True) -> Hallucination:
        super().train(mode)
        self.teacher.eval()
        return self


def _head(config: NetworkConfig, backbones: list[Backbone]) -> Head:
    """The configured head for the feature maps of some encoders, which take the first one's size."""
    shapes = [feature_shape(backbone, config.height, config.width) for backbone in backbones]
    return build_head(config.head, [shape[0] for shape in shapes], *shapes[0][1:])


def _like(features: Tensor, other: Tensor) -> Tensor:
    """A feature map at another one's size."""
    return resized_to(features, *size_of(other))


def _joined(parts: dict[str, Tensor]) -> Tensor:
    """Descriptors of unit length -> one of unit length, each with equal weight."""
    return torch.cat(list(parts.values()), dim=1) * len(parts) ** -0.5
