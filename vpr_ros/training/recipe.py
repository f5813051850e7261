"""A training recipe: everything that decides what comes out, read from YAML and kept in every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from vpr_ros.config import option
from vpr_ros.network.demixvpr import NetworkConfig
from vpr_ros.training.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """Defaults are DeMixVPR's, with batches small enough for a CPU."""

    seed: int = option(0, "of weights, batches and augmentation")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: str = option("", "file with the backbone's starting weights; empty starts from random ones")
    pca: bool = option(True, "start MixVPR's projections from a PCA of the backbone's features instead of random ones")
    trainable_blocks: int = option(5, "how many of the backbone's last blocks are trained", low=0, high=100)
    backbone_lr_scale: float = option(0.1, "learning rate of the backbone as a share of the others'", low=0.0, high=1.0)

    depth_lr_scale: float = option(
        1.0, "learning rate of the depth decoder and encoder as a share of MixVPR's", low=0.0
    )

    loss: str = option("contrastive", "place loss, by name in losses.PLACE_LOSSES")
    miner: str = option("batch_hard", "miner, by name in losses.MINERS, or none")
    depth_weight: float = option(1.0, "weight of the depth loss; 0 leaves the decoder as it starts", low=0.0)
    relational_weight: float = option(
        0.0, "weight of keeping the starting backbone's similarities within a drive", low=0.0
    )

    optimiser: str = option("adam", "which one", choices=("adam", "adamw", "sgd", "asgd"))
    lr: float = option(1e-4, "learning rate at the start", low=0.0, high=1.0)
    weight_decay: float = option(1e-5, "L2 penalty of the weights", low=0.0, high=1.0)
    poly_power: float = option(0.9, "learning rate falls as (1 - progress) to this power", low=0.0, high=10.0)
    bf16: bool = option(False, "bfloat16 autocast: much faster on CPUs and GPUs that have it")

    epochs: int = option(45, "at most", low=1)
    batches_per_epoch: int = option(100, "an epoch is this many batches", low=1)
    patience: int = option(5, "stop after this many epochs without a better validation score", low=1)
    places_per_batch: int = option(24, "places in a batch", low=2)
    images_per_place: int = option(4, "images of each place, of different drives where there are", low=2)
    worlds_per_batch: int = option(2, "worlds a batch draws its places from", low=1)
    workers: int = option(1, "processes that prepare batches; 0 prepares them in the training process", low=0, high=64)

    place_spacing_m: float = option(5.0, "places of one heading are at least this far apart", "m", low=0.1, high=100.0)
    place_radius_m: float = option(3.0, "frames this near a place's centre show it", "m", low=0.1, high=100.0)
    negative_min_m: float = option(
        25.0, "places closer than this are never each other's negatives", "m", low=0.1, high=1000.0
    )
    reference_condition: str = option("overcast", "condition of the drives that validation queries are searched in")
