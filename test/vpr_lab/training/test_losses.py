"""Losses of places and of depth against their papers' formulas, worked out by hand, and against the library."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from pytorch_metric_learning import distances, losses, miners, reducers  # noqa: E402

from vpr_lab.training.losses import (  # noqa: E402
    MINERS,
    PLACE_LOSSES,
    HardestTriplets,
    PlaceLoss,
    depth_l1,
    relational_loss,
)
from vpr_ros.base.errors import ConfigError  # noqa: E402


@pytest.mark.parametrize("loss", sorted(PLACE_LOSSES))
@pytest.mark.parametrize("miner", ["none", *sorted(MINERS)])
def test_every_loss_and_miner_gives_a_gradient(loss: str, miner: str) -> None:
    """A recipe may name any pair of them: each must run, and a cost must say which way is better."""
    torch.manual_seed(0)
    descriptors = torch.nn.functional.normalize(torch.randn(12, 16), dim=1).requires_grad_()
    value = PlaceLoss(loss, miner)(descriptors, torch.arange(12) // 3)
    value.backward()
    gradient = descriptors.grad
    assert torch.isfinite(value) and gradient is not None and torch.isfinite(gradient).all()
    assert value > 0 and gradient.abs().max() > 1e-6


def by_hand(loss: str, cosine: np.ndarray, same: np.ndarray) -> float:
    """A loss as its paper writes it, with DeMixVPR's constants, over all pairs of (N, N) cosines; same: (N, N) bool."""
    other, rows = ~same, range(len(cosine))
    same = same & ~np.eye(len(cosine), dtype=bool)
    distance = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    if loss == "contrastive":  # margins 0 and 1; the library averages over those that cost
        apart, near = distance[same], np.maximum(1 - distance[other], 0)
        return float(apart.mean() + near[near > 0].mean())
    if loss == "triplet_margin":  # margin 0.1, averaged over the triplets that cost
        costs = np.array(
            [
                distance[a, p] - distance[a, n] + 0.1
                for a in rows
                for p in np.flatnonzero(same[a])
                for n in np.flatnonzero(other[a])
            ]
        )
        return float(costs[costs > 0].mean())
    if loss == "multi_similarity":  # alpha 1, beta 50, base 0
        pulled = [np.log1p(np.exp(-cosine[a, same[a]]).sum()) for a in rows]
        return float(
            np.mean(
                [
                    own + np.log1p(np.exp(50 * cosine[a, other[a]]).sum()) / 50
                    for a, own in zip(rows, pulled, strict=True)
                ]
            )
        )
    if loss == "sup_con":  # temperature 0.07
        heat = np.exp(cosine / 0.07)
        everyone = [heat[a, same[a] | other[a]].sum() for a in rows]
        return float(np.mean([-np.log(heat[a, same[a]] / everyone[a]).mean() for a in rows]))
    # circle: m 0.4, gamma 80
    pull = [np.exp(-80 * np.maximum(1.4 - cosine[a, same[a]], 0) * (cosine[a, same[a]] - 0.6)).sum() for a in rows]
    push = [np.exp(80 * np.maximum(cosine[a, other[a]] + 0.4, 0) * (cosine[a, other[a]] - 0.4)).sum() for a in rows]
    return float(np.mean(np.log1p(np.multiply(pull, push))))


@pytest.mark.parametrize("loss", ["circle", "contrastive", "multi_similarity", "sup_con", "triplet_margin"])
def test_place_losses_are_the_papers(loss: str) -> None:
    """Names and constants of a library move: the cost must stay what the published experiment minimised."""
    torch.manual_seed(1)
    descriptors = torch.nn.functional.normalize(torch.randn(12, 4, dtype=torch.float64), dim=1)
    labels = torch.arange(12) // 3
    expected = by_hand(loss, (descriptors @ descriptors.T).numpy(), (labels[:, None] == labels).numpy())
    assert float(PlaceLoss(loss, "none")(descriptors, labels)) == pytest.approx(expected, rel=1e-4)


def test_miners_have_the_papers_margins() -> None:
    """Pair margins 0.7 and 0.3 are cosines, triplet margin 0.1 is of distances, multi-similarity looks 0.1 further."""
    constants = {name: keywords for name, (_, keywords) in MINERS.items()}
    assert constants["triplet_margin"] == {"margin": 0.1} and constants["multi_similarity"] == {"epsilon": 0.1}
    angles = torch.tensor([0.0, np.arccos(0.71), np.arccos(0.69), np.arccos(0.29), np.arccos(0.31)])
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    miner = PlaceLoss("contrastive", "pair_margin").miner
    assert miner is not None
    a, positive, b, negative = miner(directions, torch.tensor([0, 0, 0, 1, 1]))
    own = {(int(i), int(j)) for i, j in zip(a, positive, strict=True) if i == 0}
    others = {(int(i), int(j)) for i, j in zip(b, negative, strict=True) if i == 0}
    assert own == {(0, 2)} and others == {(0, 4)}  # a positive further than 0.7, a negative nearer than 0.3


def test_losses_know_unknown_depth_and_teacher() -> None:
    """Unknown pixels must not teach depth; descriptors with the teacher's similarities must cost nothing."""
    depth = torch.tensor([[[0.0, 10.0]]])
    assert depth_l1(torch.tensor([[[[0.9, 0.5]]]]), depth) == pytest.approx(0.0, abs=1e-6)
    hallucinated = torch.tensor([[[[0.9, 0.75]]]])  # 63.1 and 31.6 m
    below_the_sky = torch.tensor([[[np.inf, 10.0]]])
    assert depth_l1(hallucinated, below_the_sky) == pytest.approx((0.1 + 0.25) / 2, abs=1e-5)
    assert depth_l1(hallucinated, below_the_sky, sky=False) == pytest.approx(0.25, abs=1e-5)
    assert depth_l1(hallucinated, depth, of="metres") == pytest.approx(0.2162, abs=1e-3)
    # The relative error of what is too large, in units of the logarithm; what is too small costs the same as in it.
    large = (10 ** (2 * 0.4) - 1) / np.log(100)
    assert depth_l1(torch.tensor([[[[0.9, 0.5]]]]), torch.tensor([[[10.0, 10.0]]]), of="relative") == pytest.approx(
        large / 2, abs=1e-3
    )
    assert depth_l1(torch.tensor([[[[0.4]]]]), torch.tensor([[[10.0]]]), of="relative") == pytest.approx(0.1, abs=1e-5)
    assert depth_l1(hallucinated, depth, of="inverse") == pytest.approx(0.1 - 1 / 31.623, abs=1e-4)
    teacher = torch.nn.functional.normalize(torch.randn(8, 32), dim=1)
    assert relational_loss(teacher, teacher, torch.zeros(8)) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(ConfigError, match="contrastive"):
        PlaceLoss("contrasting")


def test_hardest_triplets_are_the_librarys_with_one_negative() -> None:
    """With a single negative they must be pytorch-metric-learning's batch-hard triplets on squared distances."""
    torch.manual_seed(1)
    descriptors = torch.nn.functional.normalize(torch.randn(12, 8), dim=1)
    labels = torch.arange(12) // 3
    squared = distances.LpDistance(power=2)
    triplets = miners.BatchHardMiner(distance=squared)(descriptors, labels)
    costs = losses.TripletMarginLoss(0.1, distance=squared, reducer=None)
    costs.reducer = reducers.MeanReducer()
    expected = costs(descriptors, labels, triplets)
    assert HardestTriplets(negatives=1)(descriptors, labels) == pytest.approx(float(expected), rel=1e-5)
    lone = torch.tensor([0, 1, 2])
    assert HardestTriplets()(descriptors[:3], lone) == 0.0  # no positive, nothing to learn
