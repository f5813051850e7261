"""The description of a network: all that decides its layers. It is in every recipe and every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from vpr_lab.network.depth import VIEWS
from vpr_lab.network.heads import HeadConfig
from vpr_ros.base.config import option
from vpr_ros.base.errors import ConfigError

STRIDE = 16  # pixels of the image for each position of DeMixVPR's depth features
KINDS = ("demixvpr", "demixvpr_map", "single", "two_streams", "rgbtd", "hallucination")
CONVOLUTIONS = "convolutions"  # depth encoder of DeMixVPR that is no image encoder

_OF_DEMIXVPR = (
    "rgb_channels", "depth_channels", "depth_side", "mixers", "out_channels", "out_rows", "vlad_clusters",
    "vlad_channels",
)  # fmt: skip
_OF_OTHERS = ("head", "depth_as_image", "depth_view")


@dataclass(frozen=True)
class NetworkConfig:
    """Which network. The defaults are the shipped model's.

    The descriptor of ``demixvpr`` has out_channels * out_rows dimensions from MixVPR and vlad_clusters * vlad_channels
    from NetVLAD. The other kinds take their descriptor from ``head``. Raises ConfigError for a field that has no effect
    on the kind, and for a size that the kind cannot take.
    """

    kind: str = option("demixvpr", "which network, by name in build.NETWORKS", choices=KINDS)
    backbone: str = option("mobilenet_v1", "image encoder, by name in backbones.BACKBONES")
    depth_backbone: str = option(
        "", "depth encoder, by name; empty: same as backbone; convolutions: a small one, for demixvpr only"
    )
    decoder_backbone: str = option("", "image encoder for the depth decoder alone; empty: it shares the backbone")
    height: int = option(224, "input height", "px", low=16, high=2048)
    width: int = option(224, "input width", "px", low=16, high=2048)
    depth: str = option("hallucinated", "source of depth", choices=("hallucinated", "true"))
    depth_taught_by: str = option(
        "depth",
        "losses that reach the decoder: the depth loss alone; both (depth's then reaches the image encoder); the place "
        "loss alone, which is RGB+",
        choices=("depth", "both", "place"),
    )

    # Not for demixvpr.
    head: HeadConfig = field(default_factory=HeadConfig)
    depth_as_image: bool = option(False, "single: encode the depth map instead of the image")
    depth_view: str = option("log", "depth as the depth encoder sees it", choices=tuple(VIEWS))

    # For demixvpr only.
    rgb_channels: int = option(128, "channels that RGB features are projected to before mixing", low=1)
    depth_channels: int = option(64, "channels of depth features; 0: the descriptor is from RGB alone", low=0)
    depth_side: int = option(112, "side of the depth map as its encoder sees it", "px", high=2048)
    mixers: int = option(4, "feature mixers of MixVPR", low=0)
    out_channels: int = option(32, "channels of MixVPR's output", low=1)
    out_rows: int = option(16, "rows of MixVPR's output", low=1)
    vlad_clusters: int = option(16, "visual words of NetVLAD; 0: MixVPR alone", low=0)
    vlad_channels: int = option(32, "channels of NetVLAD's local features", low=1)

    def __post_init__(self) -> None:
        unused = _OF_OTHERS if self.kind.startswith("demixvpr") else _OF_DEMIXVPR
        defaults = {"head": HeadConfig(), **{own.name: own.default for own in fields(self) if own.name != "head"}}
        if changed := [name for name in unused if getattr(self, name) != defaults[name]]:
            raise ConfigError(f"{', '.join(changed)} has no effect on a network of kind '{self.kind}': remove it")
        if not self.kind.startswith("demixvpr"):
            return
        if self.height % STRIDE or self.width % STRIDE:
            raise ConfigError(
                f"the network's input must be a multiple of {STRIDE} pixels, not {self.height} x {self.width}"
            )
        if self.depth_side < 2 * STRIDE:
            raise ConfigError(f"depth_side is {self.depth_side}: the depth encoder needs at least {2 * STRIDE} pixels")
