"""The drives of a lab: training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vpr_lab.training.datasets import Shard, load_shards
from vpr_lab.training.validate import searches
from vpr_ros.base.errors import DriveError


@dataclass(frozen=True, eq=False)
class LabData:
    """Cached drives. Training, validation and test share no world.

    reference_condition: of the reference drives. Checkpoints and soup ingredients
    are chosen on validation, never on test.
    """

    training: Sequence[Shard]
    validation: Sequence[Shard]
    test: Sequence[Shard]
    reference_condition: str = "overcast"

    @classmethod
    def open(cls, folder: Path, validation: int = 1, reference_condition: str = "overcast") -> LabData:
        """``folder/train`` and ``folder/test`` as `vpr lab data` or `vpr train cache` write them.

        validation: number of training worlds, the last by name, that are held out. Raises DriveError, such as for a
        validation or test world without a reference drive.
        """
        training, test = load_shards(folder / "train"), load_shards(folder / "test")
        worlds = sorted({shard.world for shard in training})
        if shared := set(worlds) & {shard.world for shard in test}:
            raise DriveError(
                f"{', '.join(sorted(shared))} is in both {folder}/train and {folder}/test: separate the worlds; if "
                "the runs share a route, give each its own world with `vpr train cache -d world=NAME`"
            )
        if len(worlds) <= validation:
            raise DriveError(f"{folder}/train holds {len(worlds)} worlds: {validation + 1} or more are needed")
        kept = set(worlds[len(worlds) - validation :])
        chosen_on = [shard for shard in training if shard.world in kept]
        for shards in (chosen_on, test):
            searches(shards, reference_condition)  # fails now rather than after the training
        return cls([shard for shard in training if shard.world not in kept], chosen_on, test, reference_condition)


def summary(shards: Sequence[Shard]) -> dict[str, str]:
    """The drives that something was trained on, for comparison: {"town 7/route_sun": "sun, 140 of 224 x 224"}."""
    found = {}
    for shard in shards:
        height, width = shard.images.shape[1:3]
        found[f"{shard.world}/{shard.name}"] = f"{shard.condition}, {len(shard)} of {width} x {height}"
    return found


def render(
    folder: Path, towns: int, test_towns: int, seed: int = 1001, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Render towns to learn from and towns to be measured on; what is there already is kept. Needs the simulator.

    on_progress: (towns done, towns in all).
    """
    from vpr_lab.training.towns import cache_test_towns, cache_towns

    everything = towns + test_towns
    report = on_progress or (lambda done, total: None)
    cache_towns(folder / "train", range(seed, seed + towns), lambda done, _: report(done, everything))
    first = seed + 7100  # no town that the shipped model learnt from or was chosen on
    cache_test_towns(
        folder / "test", range(first, first + test_towns), lambda done, _: report(towns + done, everything)
    )
