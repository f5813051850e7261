"""A training recipe: all that decides a training's result, read from YAML and kept in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vpr_lab.network.build import build_network
from vpr_lab.network.config import CONVOLUTIONS, NetworkConfig
from vpr_lab.network.place_network import PlaceNetwork
from vpr_lab.training.adapt import Adaptation
from vpr_lab.training.augment import Augmentation
from vpr_lab.training.losses import DEPTH_LOSSES
from vpr_ros.base.config import option


@dataclass(frozen=True)
class Classes:
    """What CosPlace's classes are; defaults are the paper's."""

    loss: str = option("cosface", "margin loss, by name in classes.MARGIN_LOSSES")
    lr: float = option(1e-2, "learning rate of the classifiers", low=0.0, high=1.0)
    cell_m: float = option(10.0, "side of a cell", "m", low=0.1, high=1000.0)
    heading_deg: float = option(30.0, "range of headings in one class", "deg", low=1.0, high=360.0)
    apart_cells: int = option(5, "distance between the classes of a group, in cells", low=1, high=100)
    apart_headings: int = option(2, "distance between the classes of a group, in headings", low=1, high=36)
    min_images: int = option(10, "minimum images in a class", low=1)
    groups: int = option(8, "groups that take turns by the epoch, the fullest first", low=1)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The defaults are DeMixVPR's, with batches small enough for a CPU."""

    RENAMED: ClassVar[dict[str, str]] = {"system": "network", "pca": "initialise_head"}

    seed: int = option(0, "seed of weights, batches and augmentation")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    adaptation: Adaptation = field(default_factory=Adaptation)
    weights: str = option("", "file with the backbone's starting weights; empty starts from random ones")
    depth_weights: str = option("", "file with the depth encoder's, if it is another backbone than the image's")
    initialise_head: bool = option(True, "start the head from features of some images (PCA, k-means), not at random")
    trainable_blocks: int = option(5, "number of the backbone's last blocks to train", low=0, high=100)
    train_only: tuple[str, ...] = option((), "parts of the network to train, by name; empty: all")
    backbone_lr_scale: float = option(
        0.1, "learning rate of the backbone, as a fraction of the others'", low=0.0, high=1.0
    )
    depth_lr_scale: float = option(
        1.0, "learning rate of the depth decoder and encoder, as a fraction of MixVPR's", low=0.0
    )

    objective: str = option("places", "what descriptors learn", choices=("places", "classes", "none"))
    loss: str = option("contrastive", "place loss, by name in losses.PLACE_LOSSES")
    miner: str = option("batch_hard", "miner, by name in losses.MINERS, or none")
    parts: bool = option(False, "apply the place loss to the descriptor of each stream too, as in Piasco et al.")
    classes: Classes = field(default_factory=Classes)
    depth_weight: float = option(1.0, "weight of the depth loss; 0 leaves the decoder to the place loss", low=0.0)
    depth_loss: str = option("log", "representation of depth in the L1 loss", choices=DEPTH_LOSSES)
    sky: bool = option(True, "teach pixels beyond the depth range, such as the sky, as far away")
    imitation_weight: float = option(1.0, "weight of imitating a depth network's features", low=0.0)
    relational_weight: float = option(
        0.0, "weight of preserving the initial network's similarities within a drive", low=0.0
    )

    optimiser: str = option("adam", "optimiser", choices=("adam", "adamw", "sgd", "asgd"))
    lr: float = option(1e-4, "learning rate at the start", low=0.0, high=1.0)
    weight_decay: float = option(1e-5, "L2 penalty of the weights", low=0.0, high=1.0)
    decay: str = option("poly", "schedule of the learning rate", choices=("poly", "cosine", "constant"))
    poly_power: float = option(0.9, "poly: learning rate falls as (1 - progress) to this power", low=0.0, high=10.0)
    bf16: bool = option(False, "bfloat16 autocast: much faster on CPUs and GPUs that have it")

    epochs: int = option(45, "maximum epochs", low=1)
    batches_per_epoch: int = option(100, "batches in an epoch", low=1)
    patience: int = option(5, "epochs without a better validation score before training stops", low=1)
    places_per_batch: int = option(24, "places in a batch", low=2)
    images_per_place: int = option(4, "images of each place, of different drives if there are any", low=2)
    worlds_per_batch: int = option(2, "worlds a batch draws its places from", low=1)
    most_images: int = option(
        1000, "objective none: number of images to draw from, 0: all; the paper has 1000 at night", low=0
    )
    workers: int = option(1, "processes that prepare batches; 0 prepares them in the training process", low=0, high=64)

    conditions: tuple[str, ...] = option((), "conditions of the drives to learn from; empty: all")
    target_conditions: tuple[str, ...] = option((), "conditions to adapt to; their places are not used")
    place_spacing_m: float = option(5.0, "minimum distance between places of one heading", "m", low=0.1, high=100.0)
    place_radius_m: float = option(
        3.0, "maximum distance of a place's frames from its centre", "m", low=0.1, high=100.0
    )
    negative_min_m: float = option(
        25.0, "minimum distance between a place and its negatives", "m", low=0.1, high=1000.0
    )
    validation_conditions: tuple[str, ...] = option(
        (), "conditions of the queries that choose the best epoch; empty: all"
    )
    reference_condition: str = option("overcast", "condition of the reference drives for validation")

    def build(self, with_weights: bool = True) -> PlaceNetwork:
        """The network before training; random if not with_weights. Raises ModelError or ConfigError."""
        weights, depth_weights = (
            Path(name) if name and with_weights else None for name in (self.weights, self.depth_weights)
        )
        return build_network(self.network, weights, depth_weights)


def translate_recipe(data: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe in today's words; one of today's is returned as it is.

    Up to version 0.0.9 the shipped network was ``network`` and a published one ``system``, and ``pca`` was for the
    first alone.
    """
    network, system = data.get("network", {}), data.get("system")
    if "kind" in network:
        return data
    kept = {name: value for name, value in data.items() if name not in ("network", "system", "pca")}
    if system is not None:
        return {**kept, "network": system, "initialise_head": True}
    network = {**network, "kind": "demixvpr", "depth_backbone": network.get("depth_backbone") or CONVOLUTIONS}
    return {**kept, "network": network, "initialise_head": data.get("pca", True)}
