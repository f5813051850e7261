"""The grid search on a tiny world: who goes on, what a killed search repeats, what it leaves behind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

import vpr_lab.training.grid as grid_module  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.grid import Combination, Grid, Result, run_grid  # noqa: E402
from vpr_lab.training.loop import train  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.base.config import from_dict, load_yaml  # noqa: E402
from vpr_ros.base.errors import ConfigError, ModelError  # noqa: E402

ONE = {"optimiser": ("adam",), "lr": (1e-3,), "weight_decay": (0.0,), "decay": ("poly",)}
FOUR = Grid(loss=("contrastive", "multi_similarity"), miner=("none", "batch_hard"), **ONE)


class Killed(BaseException):
    """What a power failure is to the search."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every call of the real training: the combination's folder, the epochs to reach."""
    calls: list[tuple[str, int]] = []

    def counted(recipe, shards, held_out, folder, device, stop_after):
        calls.append((folder.name, stop_after))
        return train(recipe, shards, held_out, folder, device, stop_after=stop_after)

    monkeypatch.setattr(grid_module, "train", counted)
    return calls


@pytest.fixture(scope="module")
def search(tiny_recipe: Recipe, tiny_shards: list, tmp_path_factory) -> tuple[Path, list[Result]]:
    """The search over four combinations, start to finish."""
    folder = tmp_path_factory.mktemp("grid")
    return folder, run_grid(tiny_recipe, FOUR, tiny_shards[:3], tiny_shards[3:], folder)


def test_the_default_is_the_papers_grid() -> None:
    """Seven losses, six miners, four optimisers, four learning rates, five decays of weights, two schedules."""
    everything = Grid().combinations()
    assert len(everything) == 7 * 6 * 4 * 4 * 5 * 2 == len({combination.name for combination in everything})
    assert Grid().rungs(42, 45) == [(1, 42), (2, 21), (4, 11), (8, 6), (16, 3), (32, 2), (45, 1)]
    assert Grid().rungs(1, 45) == [(45, 1)] and Grid(keep=1.0).rungs(3, 2) == [(1, 3), (2, 3)]


def test_a_sample_is_drawn_once_and_for_all() -> None:
    """A resumed search must find the combinations it began with."""
    some = Grid(sample=20)
    drawn = some.combinations(seed=3)
    assert drawn == some.combinations(seed=3) != some.combinations(seed=4)
    assert len(set(drawn)) == 20 and set(drawn) <= set(Grid().combinations())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": ["contrasting"]}, "contrasting"),
        ({"miner": ["hard"]}, "hard"),
        ({"optimiser": ["lion"]}, "lion"),
        ({"lr": [7.0]}, "lr is 7"),
        ({"decay": []}, "decay is empty"),
    ],
)
def test_a_wrong_choice_is_refused_before_hours_of_training(change: dict, message: str) -> None:
    """A misspelt miner would otherwise come up when the search gets to it."""
    with pytest.raises(ConfigError, match=message):
        from_dict(Grid, change).combinations()


def test_the_best_half_goes_on(search: tuple[Path, list[Result]]) -> None:
    """Pruning must keep the better half at each rung, and only the one left gets all the epochs."""
    folder, results = search
    assert [(result.reached.rung, result.dropped) for result in results] == [
        (4, False), (2, True), (1, True), (1, True)
    ]  # fmt: skip

    def rung(result: Result, epochs: int) -> dict:
        return json.loads((folder / result.combination.name / f"rung_{epochs:04d}.json").read_text())

    first = [rung(result, 1)["score"] for result in results]
    assert min(first[:2]) >= max(first[2:]) and rung(results[0], 2)["score"] >= rung(results[1], 2)["score"]
    assert rung(results[0], 4)["epochs"] == 4 and "recall@1_night" in rung(results[0], 4)["recall"]
    assert not (folder / results[2].combination.name / "rung_0002.json").exists()


def test_rungs_do_not_bend_the_schedule(
    search: tuple[Path, list[Result]], tiny_recipe: Recipe, tiny_shards: list, tmp_path: Path
) -> None:
    """Stopped at 1 and 2 of 4 epochs, the winner must have the weights of one that was trained in one go."""
    folder, results = search
    train(results[0].combination.recipe(tiny_recipe), tiny_shards[:3], tiny_shards[3:], tmp_path)
    whole = Checkpoint.load(tmp_path / "last.pt").network.state_dict()
    halting = Checkpoint.load(folder / results[0].combination.name / "last.pt").network.state_dict()
    assert all(torch.equal(halting[name], value) for name, value in whole.items())


def test_what_a_search_leaves_behind(search: tuple[Path, list[Result]]) -> None:
    """Every combination is in the CSV and the JSON; checkpoints of dropped ones, which fill disks, are gone."""
    folder, results = search
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["miner"] for row in rows] == [result.combination.miner for result in results]
    assert [row["dropped_after"] for row in rows] == ["", "2", "1", "1"] and float(rows[0]["score"]) == results[0].score
    assert [row["epochs"] for row in json.loads((folder / "results.json").read_text())] == [4, 2, 1, 1]
    kept = [(folder / result.combination.name / "best.pt").exists() for result in results]
    assert kept == [True, False, False, False]
    assert load_yaml(Recipe, folder / "best_recipe.yaml").miner == results[0].combination.miner
    assert not list(folder.rglob("*.part"))


def test_a_killed_search_goes_on_where_it_stopped(
    search: tuple[Path, list[Result]],
    trained: list[tuple[str, int]],
    tiny_recipe: Recipe,
    tiny_shards: list,
    tmp_path: Path,
) -> None:
    """A night's search must not be lost to a power failure: nothing finished is trained again, the end is the same."""

    def kill(done: int, total: int, result: Result) -> None:
        if done == 5:
            raise Killed

    arguments = tiny_recipe, FOUR, tiny_shards[:3], tiny_shards[3:], tmp_path
    with pytest.raises(Killed):
        run_grid(*arguments, on_result=kill)
    before = list(trained)
    seen: list[tuple[int, int]] = []
    results = run_grid(*arguments, on_result=lambda done, total, result: seen.append((done, total)))
    assert len(before) == 5 and len(trained) == 7 and len(set(trained)) == 7
    assert seen == [(done, 7) for done in range(1, 8)]

    def told(results: list[Result]) -> list:
        return [(result.combination, result.score, result.reached.recall, result.dropped) for result in results]

    assert told(results) == told(search[1])
    assert told(run_grid(*arguments)) == told(results) and len(trained) == 7
    with pytest.raises(ConfigError, match="another recipe"):
        run_grid(replace(tiny_recipe, seed=1), *arguments[1:])


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[float]]], list[tuple[str, int]]]:
    """Scores of each epoch by the name of a loss, instead of training: for what real training does by chance only.

    A list that ends is a run that stopped by itself; an empty one fails as a miner does that meets NaN.
    """
    calls: list[tuple[str, int]] = []

    class Scored:
        def __init__(self, scores: list[float]) -> None:
            self.scores = [{"mean": score, "recall@1_night": score} for score in scores]

    def pretend(scores: dict[str, list[float]]) -> list[tuple[str, int]]:
        def fake_train(recipe, shards, held_out, folder, device, stop_after):
            calls.append((recipe.loss, stop_after))
            if not scores[recipe.loss]:
                raise RuntimeError("max(): Expected reduction dim")

        def fake_load(path: Path) -> Scored:
            return Scored(scores[path.parent.name.split("-")[0]])

        monkeypatch.setattr(grid_module, "train", fake_train)
        monkeypatch.setattr(grid_module.Checkpoint, "load", staticmethod(fake_load))
        return calls

    return pretend


def test_runs_that_fail_or_stop_do_not_stop_the_search(
    pretended: Callable, tiny_recipe: Recipe, tiny_shards: list, tmp_path: Path
) -> None:
    """A learning rate too high is what grids find out, and a run out of patience is not trained on."""
    nan = float("nan")
    calls = pretended({"contrastive": [0.5, 0.9, 0.8, 0.7], "circle": [0.6, 0.6], "fast_ap": [], "angular": [nan]})
    grid = Grid(loss=("angular", "fast_ap", "circle", "contrastive"), miner=("none",), **ONE, keep=0.6)
    results = run_grid(replace(tiny_recipe, epochs=8), grid, tiny_shards[:3], tiny_shards[3:], tmp_path)
    assert [(result.combination.loss, result.score) for result in results[:2]] == [
        ("contrastive", 0.9),
        ("circle", 0.6),
    ]
    assert "reduction dim" in next(result.error for result in results if result.combination.loss == "fast_ap")
    assert ("circle", 4) in calls and ("circle", 8) not in calls, "circle stopped after 2 epochs, seen at 4"
    pretended({"circle": []})
    with pytest.raises(ModelError, match="reduction dim"):
        run_grid(tiny_recipe, Grid(loss=("circle",), miner=("none",), **ONE), [], tiny_shards, tmp_path / "all")


def test_a_grid_needs_something_to_judge_by(tiny_recipe: Recipe, tiny_shards: list, tmp_path: Path) -> None:
    """Losses of different kinds are not comparable: without validation, or with a single drive, there is no best."""
    for held_out in ([], tiny_shards[3:4]):
        with pytest.raises(ConfigError, match="two drives"):
            run_grid(tiny_recipe, FOUR, tiny_shards[:3], held_out, tmp_path)
    with pytest.raises(ConfigError, match="objective"):
        run_grid(replace(tiny_recipe, objective="none"), FOUR, tiny_shards[:3], tiny_shards[3:], tmp_path)


def test_table_and_picture(search: tuple[Path, list[Result]], tmp_path: Path) -> None:
    """What a user looks at in the morning: the best first, and where the others fell out."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from rich.console import Console

    from vpr_lab.systems.grid_report import draw_grid, grid_table

    console = Console(width=120, file=io.StringIO())
    console.print(grid_table(search[1]))
    lines = [line for line in console.file.getvalue().splitlines() if line.strip()[:3] in ("1  ", "4  ")]
    assert search[1][0].combination.miner.replace("_", " ") in lines[0] and "after 1" in lines[1]
    picture = draw_grid(search[1], tmp_path / "grid.png")
    assert picture.stat().st_size > 5000
    single = [Result(Combination("circle", "none", "sgd", 0.1, 0.0, "poly"), search[1][0].reached)]
    assert draw_grid(single, tmp_path / "one.png").is_file() and grid_table(single).row_count == 1
