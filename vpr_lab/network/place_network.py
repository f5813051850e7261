"""The interface of a network to training, evaluation and export."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.backbones import Backbone, Pyramid
from vpr_lab.network.config import NetworkConfig
from vpr_lab.network.depth import VIEWS, known_log_depth, metres_from_log_depth
from vpr_lab.network.static import resized_to
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.image import Preprocessing

_BATCH = 32
_DEPTH_PARTS = ("depth_decoder", "decoder_backbone", "depth_encoder", "depth_backbone", "hallucinating")


class Output(NamedTuple):
    """What a network computes from a batch of images.

    descriptors: (B, D) of unit length. features: (B, C, h, w), the image encoder's last. log_depth: (B, 1, h, w) in
    0..1, or None if the network hallucinates no depth. parts: descriptors (B, D_k) of unit length by stream, if the
    network joins several. imitation: hallucinated features and their targets, if true depth was given.
    """

    descriptors: Tensor
    features: Tensor
    log_depth: Tensor | None = None
    parts: Mapping[str, Tensor] = MappingProxyType({})
    imitation: tuple[Tensor, Tensor] | None = None


class PlaceNetwork(nn.Module):
    """An image to a descriptor, for some kinds with depth.

    config: its description. backbone: the image encoder. dimension: D, of the descriptor. hallucinates: whether it
    outputs depth. starting_images: images that ``initialise`` wants. HEAD_PARTS: submodules that turn what ``observe``
    returns into a descriptor.

    A network runs in two steps, ``observe`` (encoders and decoder) and ``describe`` (the head). Training that keeps the
    encoders frozen computes the first once.
    """

    HEAD_PARTS: ClassVar[tuple[str, ...]] = ("head",)

    backbone: Backbone
    dimension: int
    hallucinates = False
    starting_images = 64

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def observe(self, images: Tensor, depth_m: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, H, W, 3) uint8 RGB -> features (B, C, h, w) of the image, and what else the head needs.

        depth_m: (B, h, w) metres, 0 unknown, infinite for the sky; only for networks that take true depth, which raise
        ConfigError without it.
        """
        raise NotImplementedError

    def describe(self, *observed: Tensor) -> Tensor:
        """What ``observe`` returned -> descriptors (B, D) of unit length."""
        raise NotImplementedError

    def compared(self, *observed: Tensor) -> Tensor:
        """What ``observe`` returned for a batch -> descriptors (B, D) of unit length, for the losses to compare."""
        return self.describe(*observed)

    def refresh(self, *observed: Tensor) -> None:
        """Bring what is not trained by steps up to date, from what ``observe`` returned for some images."""

    def initialise_head(self, *observed: Tensor) -> None:
        """Start the head from what ``observe`` returned for some images; NetVLAD's clusters need it."""
        raise NotImplementedError

    def analyse(self, images: Tensor, depth_m: Tensor | None = None) -> Output:
        """(B, H, W, 3) uint8 RGB, and depth as for ``observe`` -> all that training needs."""
        features, *more = self.observe(images, depth_m)
        log_depth = more[0] if self.hallucinates else None
        return Output(self.describe(features, *more), features, log_depth)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """As exported: (B, H, W, 3) uint8 RGB -> descriptors (B, D), and depth (B, H/4, W/4) in metres or None."""
        output = self.analyse(images)
        depth = None if output.log_depth is None else metres_from_log_depth(output.log_depth.float()).squeeze(1)
        return output.descriptors, depth

    @torch.no_grad()
    def initialise(self, images: Tensor, depth_m: Tensor) -> None:
        """``initialise_head`` from images (N, H, W, 3) uint8 of any size. Leaves the network in eval mode."""
        self.eval()
        batches = zip(self.sized(images).split(_BATCH), depth_m.split(_BATCH), strict=True)
        observed = [self.observe(*batch) for batch in batches]
        self.initialise_head(*(torch.cat(parts).float() for parts in zip(*observed, strict=True)))

    @property
    def preprocessing(self) -> Preprocessing:
        """The network's input size, with its backbone's mean and standard deviation."""
        own = self.backbone.preprocessing
        return Preprocessing(self.config.height, self.config.width, own.mean, own.std)

    def sized(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> the same at the network's input size."""
        return resized(images, self.config.height, self.config.width)

    def head_parts(self) -> list[nn.Module]:
        """The submodules that turn what ``observe`` returned into a descriptor."""
        parts = (getattr(self, name) for name in self.HEAD_PARTS)
        return [part for part in parts if part is not None]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that are trained, by group: descriptor, backbone, depth."""
        groups: dict[str, list[nn.Parameter]] = {"descriptor": [], "backbone": [], "depth": []}
        for name, part in self.named_children():
            group = "backbone" if name == "backbone" else "depth" if name in _DEPTH_PARTS else "descriptor"
            groups[group] += [parameter for parameter in part.parameters() if parameter.requires_grad]
        return groups

    def log_depth_of(self, depth_m: Tensor | None) -> Tensor:
        """True depth (B, h, w) in metres -> log depth (B, 1, h, w) in 0..1; unknown pixels are far away."""
        if depth_m is None:
            raise ConfigError("this network needs true depth: it runs on drives with depth, not on a camera alone")
        if not torch.jit.is_tracing() and not (depth_m > 0).any():
            raise ConfigError("this network needs true depth, and a drive has none: cache drives with depth for it")
        return known_log_depth(depth_m)

    def encode_depth(self, encoder: Backbone, log_depth: Tensor) -> Tensor:
        """Features of log depth (B, 1, h, w), shown to an image encoder at the network's input size."""
        view = VIEWS[self.config.depth_view](log_depth.float())
        return encode_depth(encoder, view, self.config.height, self.config.width).place


def encode_depth(encoder: Backbone, view: Tensor, height: int, width: int) -> Pyramid:
    """Features of a depth map (B, 1 or 3, h, w) in 0..1, shown to an image encoder as a grey image (Piasco et al.)."""
    image = 255 * resized_to(view.float(), height, width)
    own = encoder.preprocessing
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (own.mean, own.std))
    return encoder.encode((image - mean) / std)


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, height, width, 3) uint8."""
    if tuple(images.shape[1:3]) == (height, width):
        return images
    scaled = F.interpolate(images.permute(0, 3, 1, 2).float(), (height, width), mode="bilinear", antialias=True)
    return scaled.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)
