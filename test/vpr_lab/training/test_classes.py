"""Places as classes: groups without neighbours, batches that repeat, losses that match their formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.training.augment import Augmentation  # noqa: E402
from vpr_lab.training.classes import ClassBatches, ClassLoss, Group, find_groups  # noqa: E402
from vpr_lab.training.datasets import Shard  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError  # noqa: E402

SIZE = 8


def shard(position: np.ndarray, heading: np.ndarray, world: str = "town", name: str = "drive_sun") -> Shard:
    """Frame k is filled with the number k."""
    count = len(position)
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, SIZE, SIZE, 3))
    return Shard(world, name, images, np.ones((count, SIZE // 4, SIZE // 4), np.float16), position, heading)


def wandering(count: int = 6000, extent_m: float = 120.0, seed: int = 0, world: str = "town") -> Shard:
    """Frames anywhere in a square, looking anywhere, on both sides of the origin."""
    rng = np.random.default_rng(seed)
    position = rng.uniform(-extent_m / 2, extent_m / 2, (count, 3))
    return shard(position, rng.uniform(-np.pi, np.pi, count), world)


def groups_of(*shards: Shard, **options) -> list[Group]:
    return find_groups(shards, **{"min_images": 2, **options})


def test_no_two_classes_of_a_group_are_neighbours() -> None:
    """Telling two halves of one view apart would teach the wrong thing: that is what the groups are for."""
    groups = groups_of(wandering())
    assert len(groups) == 5 * 5 * 2
    for group in groups:
        for first, second in itertools.combinations(group.classes, 2):
            columns, rows = (abs(first.cell[i] - second.cell[i]) for i in (0, 1))
            turn = abs(first.cell[2] - second.cell[2])
            assert max(columns, rows) >= 5 or min(turn, 12 - turn) >= 2


def test_an_image_has_one_class_and_it_fits() -> None:
    """An image in two classes would contradict itself; its class must be its cell of 10 m and its 30 degrees."""
    drive = wandering()
    members = [(c, member) for group in groups_of(drive) for c in group.classes for member in c.members]
    assert len({member for _, member in members}) == len(members)
    for place, (_, row) in members:
        assert place.cell[:2] == tuple(int(x // 10) for x in drive.position[row, :2])
        assert place.cell[2] == int(np.degrees(drive.heading[row]) % 360 // 30)


def test_group_is_the_remainder_of_the_cell() -> None:
    """CosPlace's rule worked by hand: 50 m east is the same group, 40 m is another, 60 degrees the same, 30 another."""
    position = np.repeat([[5.0, 5, 0], [55, 5, 0], [45, 5, 0], [5, 5, 0], [5, 5, 0], [45, 55, 0]], 2, axis=0)
    heading = np.radians(np.repeat([1.0, 1, 1, 61, 31, 1], 2))
    groups = groups_of(shard(position, heading))
    assert [[c.cell for c in group.classes] for group in groups] == [
        [(0, 0, 0), (0, 0, 2), (5, 0, 0)],
        [(4, 0, 0), (4, 5, 0)],
    ]
    assert [group.remainders for group in groups] == [(0, 0, 0), (4, 0, 0)]
    assert groups[0].classes[0].members == ((0, 0), (0, 1))


def test_worlds_and_drives() -> None:
    """The same metres in two towns are two places; the same town seen by two drives is one."""
    position = np.repeat([[5.0, 5, 0], [55, 5, 0]], 2, axis=0)
    one, other = shard(position, np.zeros(4)), shard(position, np.zeros(4), "village")
    again = shard(position, np.zeros(4), name="drive_night")
    (group,) = groups_of(one, other, again)
    assert [(c.world, len(c.members)) for c in group.classes] == [
        ("town", 4),
        ("town", 4),
        ("village", 2),
        ("village", 2),
    ]
    (group,) = groups_of(one, other, again, min_images=3)
    assert [c.world for c in group.classes] == ["town", "town"]


def test_headings_wrap() -> None:
    """Just left and right of due east must land in bins 0 and 11, also where rounding makes a whole turn of nothing."""
    position = np.repeat([[5.0, 5, 0]], 8, axis=0)
    heading = np.repeat([-1e-17, -np.pi / 3 - 0.1, 2 * np.pi - 0.1, -0.1], 2)
    (group,) = groups_of(shard(position, heading))
    assert [c.cell[2] for c in group.classes] == [9, 11] and len(group.classes[1].members) == 6


def test_mistakes_are_named() -> None:
    """Too few images, and bins that leave neighbours across due east in one group, each get one sentence."""
    drive = wandering(200)
    with pytest.raises(DriveError, match="no two classes with 10 images"):
        find_groups([drive])
    with pytest.raises(DriveError, match="has 0"):
        find_groups([])
    for options in ({"heading_deg": 50.0}, {"heading_deg": 30.0, "apart_headings": 5}):
        with pytest.raises(ConfigError, match="divide 360"):
            groups_of(drive, **options)
    with pytest.raises(ConfigError, match="sphereface"):
        ClassLoss("softmax", 4, [2])


def test_batches_depend_on_seed_epoch_and_number_alone() -> None:
    """A resumed run must see what an uninterrupted one would have seen, and every epoch something new."""
    drives = [wandering(2000), wandering(2000, seed=1)]
    groups = groups_of(*drives)[:3]

    def batches(seed: int = 0, epoch: int = 0) -> ClassBatches:
        made = ClassBatches(drives, groups, Augmentation(), 4, images_per_batch=6, seed=seed)
        made.epoch = epoch
        return made

    first, again = batches()[2], batches()[2]
    assert all(torch.equal(first[key], again[key]) for key in first)
    for other in (batches()[3], batches(seed=1)[2], batches(epoch=3)[2]):
        assert not torch.equal(first["images"], other["images"]) and int(other["group"]) == 0
    assert [int(batches(epoch=e)[0]["group"]) for e in range(4)] == [0, 1, 2, 0]
    assert set(first) == {"images", "depth", "labels", "drives", "group"} and len(batches()) == 4
    assert first["images"].shape == (6, SIZE, SIZE, 3) and first["images"].dtype == torch.uint8
    assert first["depth"].shape == (6, SIZE // 4, SIZE // 4) and first["depth"].dtype == torch.float32


def test_batches_hold_images_of_their_classes() -> None:
    """Labels number the classes of the group; a class comes back only when all others of the group have had a turn."""
    drives = [wandering(2000), wandering(2000, seed=1)]
    groups = groups_of(*drives)
    for number, size in ((0, 4), (1, 4), (2, 40)):
        batches = ClassBatches(drives, groups, Augmentation(), 4, images_per_batch=size)
        batches.epoch = 7
        classes = groups[7].classes
        members, labels = batches.draw(number)
        assert len(members) == len(labels) == size
        assert all(member in classes[label].members for member, label in zip(members, labels, strict=True))
        counts = np.bincount(labels, minlength=len(classes))
        assert counts.max() - counts.min() <= 1


def cosines(loss: ClassLoss, descriptors: torch.Tensor, group: int) -> np.ndarray:
    weight = loss.classifiers[group].W.detach().double().numpy()
    return descriptors.double().numpy() @ (weight / np.linalg.norm(weight, axis=0))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    rows = np.arange(len(labels))
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[rows, labels]))


def cosface(angle: np.ndarray) -> np.ndarray:
    return np.cos(angle) - 0.40


def arcface(angle: np.ndarray) -> np.ndarray:
    return np.where(angle + 0.5 <= np.pi, np.cos(angle + 0.5), np.cos(angle) - 0.5 * np.sin(0.5))


def sphereface(angle: np.ndarray) -> np.ndarray:
    return np.where(angle <= np.pi / 1.5, np.cos(1.5 * angle), -np.cos(1.5 * angle) - 2)


@pytest.mark.parametrize(
    ("name", "scale", "margin"), [("cosface", 30, cosface), ("arcface", 64, arcface), ("sphereface", 30, sphereface)]
)
def test_margin_losses_by_hand(name: str, scale: float, margin) -> None:
    """CosPlace-Extended's constants in the papers' formulas: s (cos(t) - m), s cos(t + m), s cos(m t).

    The angles reach nearly to pi, where the last two change their branch. A margin in degrees taken for radians, or
    1.5 cut to 1, shows here.
    """
    torch.manual_seed(0)
    loss = ClassLoss(name, 3, [4, 5])
    descriptors = torch.nn.functional.normalize(torch.randn(200, 3), dim=1)
    labels = torch.randint(0, 5, (200,))
    cosine, rows = cosines(loss, descriptors, 1), np.arange(200)
    angle = np.arccos(cosine[rows, labels])
    assert angle.min() < 0.3 and angle.max() > 2.8
    logits = cosine.copy()
    logits[rows, labels] = margin(angle)
    value = loss(descriptors, labels, torch.tensor(1))
    assert float(value.detach()) == pytest.approx(cross_entropy(scale * logits, labels.numpy()), rel=1e-4)


@pytest.mark.parametrize("name", ["cosface", "arcface", "sphereface"])
def test_classifiers_are_apart_and_learn(name: str) -> None:
    """One classifier and optimiser a group: a step on one must leave the others alone, and steps must separate."""
    torch.manual_seed(0)
    loss = ClassLoss(name, 8, [3, 4])
    assert [c.W.shape for c in loss.classifiers] == [(8, 3), (8, 4)]
    points = torch.randn(12, 8, requires_grad=True)
    labels = torch.arange(12) % 3
    other = loss.classifiers[1].W.detach().clone()
    optimiser = torch.optim.Adam([{"params": [points]}, {"params": loss.classifiers[0].parameters()}], lr=0.05)
    values = []
    for _ in range(150):
        optimiser.zero_grad()
        value = loss(torch.nn.functional.normalize(points, dim=1).bfloat16(), labels, 0)
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.1 * values[0] and np.isfinite(values).all()
    assert torch.equal(loss.classifiers[1].W, other) and loss.classifiers[0].W.dtype == torch.float32
