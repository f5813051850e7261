"""DeMixVPR's grid of losses, miners, optimisers and schedules, searched by successive halving.

Every combination is trained for a little while; the worse half is dropped, the others are trained for twice as long,
and so on (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization").
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vpr_lab.training.checkpoint import Checkpoint
from vpr_lab.training.datasets import Shard
from vpr_lab.training.loop import train
from vpr_lab.training.losses import MINERS, PLACE_LOSSES, PlaceLoss
from vpr_lab.training.recipe import Recipe
from vpr_ros.base.config import from_dict, load_yaml, option, save_yaml
from vpr_ros.base.errors import ConfigError, ModelError
from vpr_ros.base.files import written_whole


@dataclass(frozen=True)
class Combination:
    """One choice of everything the grid is about; the fields are the recipe's."""

    loss: str
    miner: str
    optimiser: str
    lr: float
    weight_decay: float
    decay: str

    @property
    def name(self) -> str:
        """Fit for a folder."""
        return f"{self.loss}-{self.miner}-{self.optimiser}-lr{self.lr}-wd{self.weight_decay}-{self.decay}"

    def recipe(self, base: Recipe) -> Recipe:
        """The base recipe with this choice."""
        return replace(base, **asdict(self))


AXES = tuple(axis.name for axis in fields(Combination))


@dataclass(frozen=True)
class Grid:
    """What is combined, and how fast combinations are dropped; the choices are the paper's, 6720 combinations.

    For what the paper shows first, 42 losses and miners, give the other choices one value each.
    """

    loss: tuple[str, ...] = option(
        tuple(name for name in PLACE_LOSSES if name != "hardest_triplets"), "place losses; that one mines for itself"
    )
    miner: tuple[str, ...] = option(("none", *MINERS), "miners")
    optimiser: tuple[str, ...] = option(("sgd", "adam", "adamw", "asgd"), "optimisers")
    lr: tuple[float, ...] = option((1e-2, 1e-3, 1e-4, 1e-5), "learning rates at the start")
    weight_decay: tuple[float, ...] = option((0.0, 1e-5, 1e-4, 1e-3, 1e-2), "L2 penalties of the weights")
    decay: tuple[str, ...] = option(("poly", "cosine"), "schedule of the learning rate")
    sample: int = option(0, "number of combinations drawn at random; 0: all", low=0)
    first_epochs: int = option(1, "epochs before the first are dropped; twice as many before the next", low=1)
    keep: float = option(0.5, "fraction of the combinations that is kept", low=0.01, high=1.0)
    keep_checkpoints: bool = option(False, "keep those of dropped combinations too")

    def combinations(self, seed: int = 0) -> list[Combination]:
        """All of them, or the sample. Raises ConfigError for a choice that is empty or not the recipe's."""
        for axis in AXES:
            if not getattr(self, axis):
                raise ConfigError(f"grid: {axis} is empty; give it at least one value")
            for value in getattr(self, axis):
                from_dict(Recipe, {axis: value}, "grid")
        for loss, miner in product(self.loss, self.miner):
            PlaceLoss(loss, miner)
        values = [dict.fromkeys(getattr(self, axis)) for axis in AXES]
        everything = [Combination(*choice) for choice in product(*values)]
        if not 0 < self.sample < len(everything):
            return everything
        drawn = np.random.default_rng(seed).permutation(len(everything))[: self.sample]
        return [everything[number] for number in sorted(drawn)]

    def rungs(self, combinations: int, epochs: int) -> list[tuple[int, int]]:
        """(epochs to train to, combinations that are) of each rung, down to those that get all the epochs."""
        planned = []
        rung = self.first_epochs
        while rung < epochs:
            if combinations > 1:
                planned.append((rung, combinations))
                combinations = math.ceil(self.keep * combinations)
            rung *= 2
        return [*planned, (epochs, combinations)]


@dataclass(frozen=True)
class Reached:
    """What a combination had reached at a rung, as its JSON says.

    rung: epochs it was meant to have been trained for. epochs: it was, fewer if it stopped by itself.
    score: its best validation score so far, None if it has none. recall: by condition, of that epoch.
    """

    rung: int
    epochs: int
    score: float | None
    recall: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """How far a combination came. seconds: of all its training. error: why it could not be trained on."""

    combination: Combination
    reached: Reached
    seconds: float = 0.0
    dropped: bool = False
    error: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it ran out of patience, so that more training would not help."""
        return not self.error and self.reached.epochs < self.reached.rung

    @property
    def score(self) -> float:
        """Minus infinity without one."""
        return -math.inf if self.reached.score is None else self.reached.score


def run_grid(
    base: Recipe,
    grid: Grid,
    shards: Sequence[Shard],
    held_out: Sequence[Shard],
    folder: Path,
    device: str = "cpu",
    on_result: Callable[[int, int, Result], None] | None = None,
) -> list[Result]:
    """Search the grid, or resume the search in ``folder``; every combination's result, the best first.

    base: what all combinations share; its epochs are what the best ones get, and what their schedules fall over.
    shards, held_out: as in ``train``; combinations are compared by their best validation score. on_result: trainings
    done and in all, and the newest result.
    The folder gets recipe.yaml, grid.yaml, a folder for each combination with a JSON of every finished rung and its
    checkpoints (of dropped ones none), and results.json, results.csv and best_recipe.yaml in the end. Nothing finished
    is trained again, and the grid may be changed between two calls; the recipe may not.
    Raises ConfigError, or ModelError if no combination can be trained.
    """
    if base.objective != "places":
        raise ConfigError(f"a grid search needs objective places, not {base.objective}")
    if max(Counter(shard.world for shard in held_out).values(), default=0) < 2:
        raise ConfigError("a grid search needs validation: hold out a world with at least two drives")
    racing = grid.combinations(base.seed)
    _claim(folder, base, grid)
    rungs = grid.rungs(len(racing), base.epochs)
    done, total = 0, sum(count for _, count in rungs)
    last = {combination: Result(combination, Reached(0, 0, None)) for combination in racing}
    dropped: list[Result] = []
    for (rung, _), going_on in zip(rungs, [*(count for _, count in rungs[1:]), len(racing)], strict=True):
        for combination in racing:
            own = folder / combination.name
            learn = partial(train, combination.recipe(base), shards, held_out, own, device, stop_after=rung)
            last[combination] = _climb(last[combination], rung, own, learn)
            done += 1
            if on_result is not None:
                on_result(done, total, last[combination])
        ranked = sorted((last[combination] for combination in racing), key=lambda result: -result.score)
        if ranked[0].reached.score is None:
            reason = ranked[0].error or "no held-out image has a reference image near it"
            raise ModelError(f"no combination of the grid has a validation score: {reason}")
        racing = [result.combination for result in ranked[:going_on]]
        dropped = [*(replace(result, dropped=True) for result in ranked[going_on:]), *dropped]
        if not grid.keep_checkpoints:
            _forget(folder / result.combination.name for result in ranked[going_on:])
    results = [*(last[combination] for combination in racing), *dropped]
    _write(results, base, folder)
    return results


def _claim(folder: Path, base: Recipe, grid: Grid) -> None:
    """Make the folder this recipe's. Raises ConfigError if it is another one's."""
    path = folder / "recipe.yaml"
    if path.is_file() and load_yaml(Recipe, path) != base:
        raise ConfigError(f"{folder} holds a grid of another recipe: give another folder, or the recipe in {path}")
    for config, name in ((base, "recipe.yaml"), (grid, "grid.yaml")):
        with written_whole(folder / name) as part:
            save_yaml(config, part)


def _climb(before: Result, rung: int, own: Path, learn: Callable[[], object]) -> Result:
    """Bring a combination to a rung, unless it has been there or has stopped by itself. own: its folder."""
    path = own / f"rung_{rung:04d}.json"
    if not path.is_file():
        started = time.monotonic()
        if before.stopped:
            reached = replace(before.reached, rung=rung, seconds=0.0)
        else:
            try:
                learn()
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:  # torch's: some miners cannot bear descriptors that became NaN
                reached = replace(before.reached, rung=rung, score=None)
                return replace(before, reached=reached, error=" ".join(str(error).split()) or type(error).__name__)
            reached = _best_of(Checkpoint.load(own / "last.pt").scores[:rung], rung, time.monotonic() - started)
        with written_whole(path) as part:
            part.write_text(json.dumps(asdict(reached), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    reached = _read(path)
    return Result(before.combination, reached, before.seconds + reached.seconds)


def _best_of(scores: Sequence[dict[str, float]], rung: int, seconds: float) -> Reached:
    """What the epochs' scores come to: the best of them."""
    best = max(scores, key=lambda score: score["mean"] if math.isfinite(score["mean"]) else -math.inf)
    recall = {name: value for name, value in best.items() if name.startswith("recall") and math.isfinite(value)}
    return Reached(rung, len(scores), best["mean"] if math.isfinite(best["mean"]) else None, recall, seconds)


def _read(path: Path) -> Reached:
    try:
        return from_dict(Reached, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: remove it to train this combination again ({error})") from error


def _forget(folders: Iterable[Path]) -> None:
    """Remove the checkpoints of dropped runs."""
    for folder, name in product(folders, ("last.pt", "best.pt")):
        (folder / name).unlink(missing_ok=True)


def _write(results: Sequence[Result], base: Recipe, folder: Path) -> None:
    """results.json, results.csv and best_recipe.yaml."""
    rows = [_row(result) for result in results]
    with written_whole(folder / "results.json") as part:
        part.write_text(json.dumps(rows, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(name for row in rows for name in row))
    with written_whole(folder / "results.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    with written_whole(folder / "best_recipe.yaml") as part:
        save_yaml(results[0].combination.recipe(base), part)


def _row(result: Result) -> dict[str, Any]:
    reached = result.reached
    figures = {
        "epochs": reached.epochs,
        "score": reached.score,
        "dropped_after": reached.rung if result.dropped else None,
    }
    return {**asdict(result.combination), **figures, **reached.recall, "seconds": result.seconds, "error": result.error}
