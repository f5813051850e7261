"""Drives of one's own in the lab: their conditions and worlds, and networks that were trained by other ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from tiny_lab import TINY  # noqa: E402

from vpr_lab.systems.bench import Bench  # noqa: E402
from vpr_lab.systems.data import LabData  # noqa: E402
from vpr_lab.training.datasets import load_shards  # noqa: E402
from vpr_lab.training.validate import searches  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError, ModelError  # noqa: E402
from vpr_ros.cli.main import app  # noqa: E402

TRAINED_ON = {"2015-05-19-14-06-38": "overcast", "2015-08-28-09-50-22": "sun"}
CHOSEN_ON = {"2014-11-28-12-07-13": "overcast", "2014-11-25-09-18-32": "rain"}
TESTED_ON = {"2014-06-26-09-31-18": "overcast", "2014-12-16-18-44-24": "night"}


def utm_folder(path: Path, seed: int, images: int = 6) -> Path:
    """A run of one street, its name like RobotCar's, its images named by their positions 30 m apart."""
    path.mkdir(parents=True)
    for number in range(images):
        picture = np.random.default_rng([seed, number]).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        place = f"@{620000 + 30 * number:.1f}@5735000.0@30@U@@@@@90@@@@{number:06d}@@.png"
        assert cv2.imwrite(str(path / place), picture)
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def cache(runs: dict[str, str], folder: Path, cached: Path, world: str) -> None:
    """As docs/lab.md says it is done: one call for each condition."""
    for seed, (name, condition) in enumerate(runs.items()):
        drive = utm_folder(folder / name, seed)
        told = ("--condition", condition, "-d", f"world={world}", "--size", 64)
        result = run("train", "cache", drive, "-o", cached, *told)
        assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def robotcar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab of runs of one route, called like RobotCar's."""
    folder = tmp_path_factory.mktemp("robotcar")
    cache(TRAINED_ON, folder, folder / "lab" / "train", "robotcar_1")
    cache(CHOSEN_ON, folder, folder / "lab" / "train", "robotcar_2")
    cache(TESTED_ON, folder, folder / "lab" / "test", "robotcar_test")
    return folder / "lab"


def test_runs_called_by_their_date_go_through_the_lab(robotcar: Path, tmp_path: Path) -> None:
    """RobotCar's runs say neither condition nor world in their names: told so, they are learnt from and measured."""
    result = CliRunner().invoke(
        app,
        ["lab", "run", "gem", "--data", str(robotcar), "-o", str(tmp_path)]
        + [part for name, value in TINY.items() for part in ("-s", f"{name}={json.dumps(value)}")],
    )
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "gem" / "row.json").read_text())
    assert set(row["scores"]) == {"night"} and row["scores"]["night"]["queries"] == 6
    assert set(row["trained_by"]["training"]) == {f"robotcar_1/{name}" for name in TRAINED_ON}
    assert set(row["trained_by"]["validation"]) == {f"robotcar_2/{name}" for name in CHOSEN_ON}


def test_a_cached_drive_takes_a_condition_and_an_old_one_has_its_names(tmp_path: Path) -> None:
    """Drives that took hours to decode are not decoded again to be told their condition; older caches tell none."""
    folder = utm_folder(tmp_path / "street_rain", 1)
    assert run("train", "cache", folder, "-o", tmp_path / "cache", "--size", 32).exit_code == 0
    (shard,) = load_shards(tmp_path / "cache")
    assert shard.condition == "rain"
    poses = next((tmp_path / "cache").glob("*/*/poses.npz"))
    np.savez(poses, position=shard.position, heading=shard.heading)  # as it was written before
    assert load_shards(tmp_path / "cache")[0].condition == "rain"
    for image in folder.iterdir():
        image.write_bytes(b"not to be read again")
    assert run("train", "cache", folder, "-o", tmp_path / "cache", "--condition", "dusk").exit_code == 0
    (told,) = load_shards(tmp_path / "cache")
    assert told.condition == "dusk" and np.array_equal(told.position, shard.position)
    assert [path.name for path in sorted(poses.parent.iterdir())] == ["depth.npy", "images.npy", "poses.npz"]
    refused = run("train", "cache", folder, "-o", tmp_path / "cache", "--condition", "by night")
    assert isinstance(refused.exception, DriveError) and "invalid condition" in str(refused.exception)


def test_a_world_without_a_reference_is_an_error(robotcar: Path, tiny_shards: list[Any]) -> None:
    """A search in whatever drive comes first gives figures that mean nothing: it must be said before the training."""
    with pytest.raises(DriveError, match=r"'dawn'.* but overcast, rain: name one with --reference"):
        LabData.open(robotcar, reference_condition="dawn")
    with pytest.raises(DriveError, match=r"of town_2 has .*'overcast'.* night, sun"):
        searches([*tiny_shards[:3], *tiny_shards[4:]], "overcast")
    result = run("train", "run", "config/recipes/demixvpr_mobilenet.yaml", robotcar / "train", "--held-out",
                 "robotcar_2", "-s", "reference_condition=dawn")  # fmt: skip
    assert isinstance(result.exception, DriveError) and "reference_condition" in str(result.exception)


def test_the_reference_of_the_lab_is_that_of_training_too(tiny_shards: list[Any], tmp_path: Path) -> None:
    """--reference night: the epoch is chosen by searching in the drive of the night, and not refused for want of it."""
    shards = [shard for shard in tiny_shards if shard.condition != "overcast"]
    lab = LabData(tiny_shards[:3], shards[2:], shards[2:], "night")
    assert set(Bench(lab, tmp_path, overrides=TINY, pictures=False).run("gem")["scores"]) == {"sun"}


def test_a_network_of_other_drives_is_refused(tiny_shards: list[Any], tmp_path: Path) -> None:
    """A row must come from the drives and the recipe it names, and say what differs where the folder's does not."""
    first, second = tiny_shards[:3], tiny_shards[3:]
    lab = Bench(LabData(first, [], second), tmp_path, overrides=TINY, pictures=False)
    lab.make("gem")
    for data, what in (
        (LabData(first[:2], [], second), "training.town_1/sun sun, 10 of 32 x 32, not nothing"),
        (LabData(first, second, second), "validation.town_2/overcast"),
        (LabData([*first[:2], replace(first[2], condition="dusk")], [], second), "sun, 10 .* not dusk, 10"),
    ):
        with pytest.raises(ConfigError, match=f"gem was trained otherwise .*{what}"):
            replace(lab, data=data).make("gem")


def test_a_recipe_whose_weights_are_missing_leaves_nothing_behind(tiny_shards: list[Any], tmp_path: Path) -> None:
    """The error says to leave weights empty, and then the folder "was trained otherwise", though nothing had been."""
    lab = Bench(LabData(tiny_shards[:3], [], tiny_shards[3:]), tmp_path, overrides=TINY, pictures=False)
    with pytest.raises(ModelError, match="no starting weights"):
        replace(lab, overrides={**TINY, "train.weights": str(tmp_path / "none.npz")}).make("gem")
    lab.make("gem")


def test_what_a_network_begins_with_is_part_of_it(tiny_shards: list[Any], tmp_path: Path) -> None:
    """Begun with another network's parts, or with those of a recipe that changed since, it is not what its row says."""
    lab = Bench(LabData(tiny_shards[:3], [], tiny_shards[3:]), tmp_path / "runs", overrides=TINY, pictures=False)
    before, after = (tmp_path / f"{name}.yaml" for name in ("before", "after"))
    before.write_text("like: gem\n")
    after.write_text(f"like: gem\nstarts: {{backbone: '{before}:backbone'}}\n")
    lab.make(str(after))
    lab.make(str(after))
    before.write_text("like: gem\ntrain: {weight_decay: 0.5}\n")
    with pytest.raises(ConfigError, match=r"begun_by.*before.yaml.train.weight_decay .*, not 0.5"):
        lab.make(str(after))
    after.write_text("like: gem\n")
    with pytest.raises(ConfigError, match=f"starts.backbone {before}:backbone, not nothing"):
        lab.make(str(after))
    after.write_text(f"like: gem\nstarts: {{backbone: '{after}:backbone'}}\n")
    with pytest.raises(ConfigError, match="in a circle"):
        lab.make(str(after))


def test_a_network_may_begin_with_a_file(tiny_shards: list[Any], tmp_path: Path) -> None:
    """A decoder trained elsewhere, on more drives, say: its file is part of what the row is made by."""
    lab = Bench(LabData(tiny_shards[:3], [], tiny_shards[3:]), tmp_path / "runs", overrides=TINY, pictures=False)
    lab.make("gem")
    file, recipe = tmp_path / "trained.pt", tmp_path / "on.yaml"
    recipe.write_text(f"like: gem\nstarts: {{backbone: '{file}:backbone'}}\n")
    with pytest.raises(ModelError, match=f"no checkpoint at {file}"):
        lab.make(str(recipe))
    file.write_bytes((tmp_path / "runs" / "gem" / "best.pt").read_bytes())
    assert lab.make(str(recipe)).facts["starts_from"] == "random, trained.pt"
    moved = file.rename(tmp_path / "elsewhere.pt")
    recipe.write_text(f"like: gem\nstarts: {{backbone: '{moved}:backbone'}}\n")
    assert lab.make(str(recipe)).facts["starts_from"] == "random, trained.pt"  # not trained again
    moved.write_bytes(moved.read_bytes() + b" ")
    with pytest.raises(ConfigError, match=r"starts\.backbone \w{64}:backbone, not \w{64}:backbone"):
        lab.make(str(recipe))


def test_folders_that_do_not_say_and_half_done_ones(tiny_shards: list[Any], tmp_path: Path) -> None:
    """What cannot be compared is refused; an interrupted training must not be gone on with on other drives."""
    first, second = tiny_shards[:3], tiny_shards[3:]
    lab = Bench(LabData(first, [], second), tmp_path, overrides=TINY, pictures=False)
    lab.make("gem")
    path = tmp_path / "gem" / "training.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({"trained_by": facts["trained_by"]}))  # as it stands until the last epoch
    with pytest.raises(ConfigError, match="trained otherwise"):
        replace(lab, data=LabData(first[:2], [], second)).make("gem")
    assert lab.make("gem").facts["steps"] == 1
    del facts["trained_by"]
    path.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"trained otherwise \(it does not say by what\): remove it"):
        lab.make("gem")


def test_geowarp_belongs_to_the_network_it_was_trained_on(tiny_shards: list[Any], tmp_path: Path) -> None:
    """Its regression read another network's features: with those of this one its scores are noise."""
    settings = {"settings.steps": 1, "settings.batch": 2, "settings.candidates": 3}
    data = LabData(tiny_shards[:3], [], tiny_shards[3:])
    lab = Bench(data, tmp_path, overrides={**TINY, **settings}, pictures=False)
    lab.make("geowarp")
    assert replace(lab, overrides={**TINY, **settings, "settings.candidates": 4}).make("geowarp").ranker is not None
    with pytest.raises(ConfigError, match=r"geowarp was trained otherwise \(encoder\.average\."):
        replace(lab, overrides={**TINY, **settings, "ingredients": ["average"]}).make("geowarp")
