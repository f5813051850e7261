"""Losses. Place losses and miners are from pytorch-metric-learning, by name."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from torch import Tensor, nn
from torch.nn import functional as F

from vpr_lab.network.depth import FAR_M, NEAR_M, VIEWS, log_depth_from_metres
from vpr_ros.base.errors import ConfigError


class HardestTriplets(nn.Module):
    """Piasco et al.'s triplets: each image with its least similar positive and its ten most similar negatives.

    Sum over the negatives of max(d2(a, p) + margin - d2(a, n), 0), averaged over the images that have a positive.
    """

    def __init__(self, margin: float = 0.1, negatives: int = 10) -> None:
        super().__init__()
        self.margin, self.negatives = margin, negatives

    def forward(self, descriptors: Tensor, labels: Tensor, pairs: None = None) -> Tensor:
        """(B, D) of unit length, (B,) places -> scalar. pairs: a miner's, which this loss has no use for."""
        squared = (2 - 2 * descriptors @ descriptors.T).clamp(min=0)
        same = labels[:, None] == labels[None]
        positive = squared.masked_fill(~same, -1).amax(1)
        paired = same.sum(1) > 1
        nearest = squared.masked_fill(same, torch.inf).topk(min(self.negatives, len(labels) - 1), largest=False).values
        costs = F.relu(positive[:, None] + self.margin - nearest).sum(1)
        return (costs * paired).sum() / paired.sum().clamp(min=1)


# The constants of DeMixVPR's experiments. Descriptors have unit length, so L2 distances lie in 0..2.
PLACE_LOSSES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "angular": (losses.AngularLoss, {}),
    "circle": (losses.CircleLoss, {"m": 0.4, "gamma": 80}),
    "contrastive": (losses.ContrastiveLoss, {"pos_margin": 0.0, "neg_margin": 1.0}),
    "fast_ap": (losses.FastAPLoss, {"num_bins": 30}),
    "hardest_triplets": (HardestTriplets, {}),
    "multi_similarity": (losses.MultiSimilarityLoss, {"alpha": 1.0, "beta": 50.0, "base": 0.0}),
    "sup_con": (losses.SupConLoss, {"temperature": 0.07}),
    "triplet_margin": (losses.TripletMarginLoss, {"margin": 0.1}),
}
MINERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "batch_hard": (miners.BatchHardMiner, {}),
    "distance_weighted": (miners.DistanceWeightedMiner, {}),
    "multi_similarity": (miners.MultiSimilarityMiner, {"epsilon": 0.1}),
    "pair_margin": (
        miners.PairMarginMiner,
        {"pos_margin": 0.7, "neg_margin": 0.3, "distance": distances.CosineSimilarity()},
    ),
    "triplet_margin": (miners.TripletMarginMiner, {"margin": 0.1}),
}


class PlaceLoss(nn.Module):
    """A loss of pytorch-metric-learning on the pairs or triplets its miner picks. miner "none" takes all."""

    def __init__(self, loss: str = "contrastive", miner: str = "batch_hard") -> None:
        super().__init__()
        for kind, name, known in (("loss", loss, list(PLACE_LOSSES)), ("miner", miner, [*MINERS, "none"])):
            if name not in known:
                raise ConfigError(f"unknown {kind} {name!r}: choose one of {', '.join(known)}")
        loss_type, constants = PLACE_LOSSES[loss]
        self.loss = loss_type(**constants)
        self.miner = None
        if miner != "none":
            miner_type, constants = MINERS[miner]
            self.miner = miner_type(**constants)

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """(B, D) descriptors of unit length, (B,) indices of their places -> scalar."""
        return self.loss(descriptors, labels, self.miner(descriptors, labels) if self.miner else None)


# Views of depth (network.depth.VIEWS) that L1 may be taken of; and, where depth is too large, of its relative error.
DEPTH_LOSSES = ("log", "inverse", "metres", "relative")


def depth_l1(log_depth: Tensor, depth_m: Tensor, of: str = "log", sky: bool = True) -> Tensor:
    """Mean L1 over pixels whose depth is known.

    log_depth: (B, 1, h, w) in 0..1; depth_m: (B, H, W) metres, 0 unknown, infinite for the sky, of which pixels are
    picked if the sizes differ. of: what the difference is taken of. Piasco et al. take metres / 100; the logarithm
    makes an error of a tenth cost the same near and far, the inverse makes only what is near count. "relative" is the
    logarithm, but what is twice as far as it should be costs more than what is half as far, as in abs-rel: a wall taken
    for the sky costs most. sky: what is
    further than FAR_M counts as FAR_M away; the paper leaves it out. A decoder that never learns the sky draws no
    skyline, and skylines identify places.
    """
    if depth_m.shape[1:] != log_depth.shape[2:]:
        depth_m = F.interpolate(depth_m[:, None], log_depth.shape[2:], mode="nearest-exact").squeeze(1)
    known = (depth_m > 0) & (depth_m <= (torch.inf if sky else FAR_M))
    view = VIEWS["log" if of == "relative" else of]
    found, true = (view(depth) for depth in (log_depth.float(), log_depth_from_metres(depth_m)[:, None]))
    errors = (found - true).abs()
    if of == "relative":
        span = math.log(FAR_M / NEAR_M)
        errors = torch.where(found > true, torch.expm1(span * errors) / span, errors)
    return (errors.squeeze(1) * known).sum() / known.sum().clamp(min=1)


def relational_loss(descriptors: Tensor, teacher: Tensor, drives: Tensor) -> Tensor:
    """Keep the teacher's similarities between images of one drive, up to one scale and offset for the batch.

    Park et al. 2019, "Relational knowledge distillation".

    descriptors: (B, D), teacher: (B, E), both of unit length; drives: (B,) indices. Images of one drive share their
    light and weather, so what the teacher says about them is about places, and holds for real images too.
    """
    pairs = torch.triu(drives[:, None] == drives[None, :], diagonal=1)
    if int(pairs.sum()) < 3:
        return descriptors.sum() * 0
    student = (descriptors @ descriptors.T)[pairs]
    target = (teacher @ teacher.T)[pairs]
    student, target = student - student.mean(), target - target.mean()
    return 1 - F.cosine_similarity(student, target, dim=0)
