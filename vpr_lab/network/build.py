"""Networks by the name of their kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vpr_lab.network.config import NetworkConfig
from vpr_lab.network.demixvpr import DeMixVPR
from vpr_lab.network.demixvpr_map import MapDeMixVPR
from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.network.systems import Hallucination, RGBtD, Single, TwoStreams

NETWORKS: dict[str, Callable[[NetworkConfig, Path | None, Path | None], PlaceNetwork]] = {
    "demixvpr": DeMixVPR,
    "demixvpr_map": MapDeMixVPR,
    "single": Single,
    "two_streams": TwoStreams,
    "rgbtd": RGBtD,
    "hallucination": Hallucination,
}


def build_network(
    config: NetworkConfig, weights: Path | None = None, depth_weights: Path | None = None
) -> PlaceNetwork:
    """A network by its description.

    weights: file of the image encoder's starting weights, or None for random ones. depth_weights: file of the depth
    encoder's; None takes ``weights`` if both encoders are of one kind. Raises ModelError or ConfigError.
    """
    return NETWORKS[config.kind](config, weights, depth_weights)
