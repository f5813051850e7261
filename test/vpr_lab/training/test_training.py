"""Training on a tiny synthetic world: caching, places, batches, the loop and its resume."""

from __future__ import annotations

import copy
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from vpr_lab.network.build import build_network  # noqa: E402
from vpr_lab.network.config import NetworkConfig  # noqa: E402
from vpr_lab.training import head  # noqa: E402
from vpr_lab.training.augment import Augmentation, augment  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint, starting_from  # noqa: E402
from vpr_lab.training.datasets import PlaceBatches, cache_drive, find_places, load_shards  # noqa: E402
from vpr_lab.training.head import train_head, validate_head  # noqa: E402
from vpr_lab.training.loop import place_batches, start, train  # noqa: E402
from vpr_lab.training.losses import PlaceLoss  # noqa: E402
from vpr_lab.training.objective import Objective  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_lab.training.towns import in_turn  # noqa: E402
from vpr_lab.training.validate import autocast  # noqa: E402
from vpr_ros.base import config, geometry  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError, ModelError  # noqa: E402
from vpr_ros.base.image import Preprocessing  # noqa: E402
from vpr_ros.base.records import DriveFrame  # noqa: E402
from vpr_ros.cli.main import app  # noqa: E402

SIZE = 32


class StripedDrive:
    """Ten frames along a straight road; every place has its own random picture, every condition its own brightness."""

    def __init__(self, world: str, condition: str, gain: float, frames: int = 10) -> None:
        self.world, self.name, self.gain, self.frames = world, condition, gain, frames

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[DriveFrame]:
        for i in range(self.frames):
            seed = sum(map(ord, self.world)) * 1000 + i
            image = (np.random.default_rng(seed).integers(0, 255, (4, 4, 3)) * self.gain).astype(np.uint8)
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([30.0 * i, 0.5 * self.gain, 1.5]))
            depth = np.full((SIZE, SIZE), 10.0, np.float32)
            yield DriveFrame(
                i, lambda image=image: image.repeat(16, 0).repeat(16, 1), T, None, lambda depth=depth: depth
            )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    preprocessing = Preprocessing(SIZE, SIZE)
    for world in ("town_1", "town_2"):
        for condition, gain in (("overcast", 1.0), ("night", 0.4), ("sun", 0.9)):
            cache_drive(StripedDrive(world, condition, gain), tmp_path / "cache", preprocessing)
    return tmp_path / "cache"


def tiny_recipe(**changes) -> Recipe:
    network = NetworkConfig(
        depth_backbone="convolutions",
        height=SIZE,
        width=SIZE,
        depth_channels=8,
        mixers=1,
        out_channels=8,
        out_rows=2,
        vlad_clusters=2,
        vlad_channels=8,
    )
    return config.from_dict(
        Recipe,
        {
            "network": config.to_dict(network),
            "epochs": 3, "batches_per_epoch": 2, "places_per_batch": 6, "images_per_place": 3,
            "workers": 0, "trainable_blocks": 2, "relational_weight": 0.1, "lr": 1e-3, **changes,
        },
    )  # fmt: skip


def test_one_place_teaches_nothing(tmp_path: Path) -> None:
    """Four images of one place trained to the end with a loss of 0.000, and a best checkpoint."""
    for condition in ("overcast", "night"):
        cache_drive(StripedDrive("town_1", condition, 1.0, frames=1), tmp_path, Preprocessing(SIZE, SIZE))
    with pytest.raises(DriveError, match="nothing to tell apart: cache longer drives"):
        train(tiny_recipe(epochs=1), load_shards(tmp_path), [], tmp_path / "run")


def test_cache_keeps_what_training_needs(cache: Path, tmp_path: Path) -> None:
    """Images, depth, positions and headings must survive the cache; a second call must not render the drive again."""
    shards = load_shards(cache)
    assert len(shards) == 6 and {s.condition for s in shards} == {"overcast", "night", "sun"}
    assert shards[0].images.shape == (10, SIZE, SIZE, 3) and shards[0].depth.shape == (10, SIZE // 4, SIZE // 4)
    assert np.allclose(shards[0].depth, 10) and np.allclose(shards[0].position[:, 0], 30 * np.arange(10))
    assert np.allclose(shards[0].heading, 0)

    class Broken(StripedDrive):
        def __iter__(self):
            raise AssertionError("read again")

    cache_drive(Broken("town_1", "night", 0.4), cache, Preprocessing(SIZE, SIZE))
    with pytest.raises(DriveError, match="no frame"):
        cache_drive(StripedDrive("town_3", "empty", 1.0, frames=0), cache, Preprocessing(SIZE, SIZE))
    cache_drive(StripedDrive("town_3", "night", 1.0), cache, Preprocessing(2 * SIZE, 2 * SIZE))
    with pytest.raises(DriveError, match="one size"):
        load_shards(cache)
    with pytest.raises(DriveError, match="no cached drives"):
        load_shards(tmp_path / "nothing")


def test_a_simulator_knows_its_sky(tmp_path: Path) -> None:
    """Where nothing stands in a simulated town is the sky, and a decoder learns so; a lidar's holes may be anything."""

    class Open(StripedDrive):
        def __iter__(self):
            depth = np.repeat(np.float32([0.0, 10.0]), SIZE // 2)[:, None].repeat(
                SIZE, 1
            )  # nothing above, a wall below
            for frame in super().__iter__():
                yield replace(frame, read_depth=lambda: depth)

    for world, sky, above in (("town", True, np.inf), ("street", False, 0.0)):
        cache_drive(Open(world, "sun", 1.0), tmp_path, Preprocessing(SIZE, SIZE), sky=sky)
        depth = load_shards(tmp_path, [world])[0].depth
        assert (depth[:, : SIZE // 8] == above).all() and (depth[:, SIZE // 8 :] == 10).all()


def test_places_join_drives_and_respect_heading(cache: Path) -> None:
    """A place is the same spot seen the same way by several drives: the opposite direction is another place."""
    shards = load_shards(cache, ["town_1"])
    places = find_places(shards)
    assert len(places) == 10 and all(len(place.members) == 3 for place in places)
    turned = [
        shards[0],
        *(type(s)(s.world, s.name, s.images, s.depth, s.position, s.heading + np.pi) for s in shards[1:2]),
    ]
    assert find_places(turned) == []


def test_batches_are_reproducible_and_never_contrast_neighbours(cache: Path) -> None:
    """Exact resume needs batch i to depend on (seed, epoch, i) alone; near places must not be negatives."""
    shards = load_shards(cache)
    arguments = (shards, find_places(shards), Augmentation(), 4, 8, 3)
    batches = PlaceBatches(*arguments, min_distance_m=50.0)
    first, again = batches[2], PlaceBatches(*arguments, min_distance_m=50.0)[2]
    assert torch.equal(first["images"], again["images"]) and not torch.equal(first["images"], batches[3]["images"])
    for number in range(4):
        drawn = batches._draw_places(np.random.default_rng(number))
        for i, a in enumerate(drawn):
            assert all(a.world != b.world or np.linalg.norm(a.position - b.position) >= 50 for b in drawn[:i])
    assert first["images"].shape == (24, SIZE, SIZE, 3) and first["labels"].tolist() == [i // 3 for i in range(24)]


def test_augmentation_moves_depth_with_the_image() -> None:
    """A depth map that stays behind when its image is warped would teach the decoder wrong edges."""
    image, depth = np.zeros((64, 64, 3), np.uint8), np.full((16, 16), 20.0, np.float32)
    image[:, 32:], depth[:, 8:] = 255, 5.0
    still = dict.fromkeys(("colour", "gamma", "tint", "grey", "blur", "noise", "shadow", "occlusion"), 0.0)
    for seed in range(5):
        warped, warped_depth = augment(image, depth, Augmentation(viewpoint=0.1, **still), np.random.default_rng(seed))
        bright = warped[2::4, 2::4, 0] > 127
        known = warped_depth > 0
        assert (bright == (warped_depth == 5.0))[known].mean() > 0.93
    strong, _ = augment(image, depth, Augmentation(), np.random.default_rng(0))
    assert strong.shape == image.shape and strong.dtype == np.uint8


def test_losses_are_float32_under_bfloat16(cache: Path) -> None:
    """Descriptors of neighbouring places differ by less than bfloat16 holds: a loss computed in it teaches rounding."""
    recipe, shards = tiny_recipe(loss="multi_similarity"), load_shards(cache)
    network = start(recipe, shards, "cpu").eval()
    batch = place_batches(recipe, shards)[0]
    with autocast(True, "cpu"), torch.no_grad():
        found = Objective(recipe, network)(network, batch)["place"]
        descriptors = network.analyse(network.sized(batch["images"]), batch["depth"]).descriptors.float()
        rounded = PlaceLoss(recipe.loss, recipe.miner)(descriptors, batch["labels"])
    wanted = PlaceLoss(recipe.loss, recipe.miner)(descriptors, batch["labels"])
    assert found.dtype == torch.float32
    assert float(found) == float(wanted)
    assert float(rounded) != float(wanted), "bfloat16 changes nothing here: the test shows nothing"


def test_pca_start_spreads_descriptors(cache: Path) -> None:
    """A useful start tells images apart: descriptors must be centred, not all alike as with random projections."""
    torch.manual_seed(0)
    network = tiny_recipe().build()
    images = torch.randint(0, 256, (24, SIZE, SIZE, 3), dtype=torch.uint8)
    network.initialise(images, torch.zeros(24, SIZE // 4, SIZE // 4))
    with torch.inference_mode():
        similarity = network.eval()(images)[0] @ network(images)[0].T
    assert similarity[~torch.eye(24, dtype=torch.bool)].mean() < 0.2


def test_loop_trains_resumes_exactly_and_checkpoints_carry_the_recipe(cache: Path, tmp_path: Path) -> None:
    """A run cut after two epochs and resumed must end with the very weights of one that was never cut."""
    shards, held_out = load_shards(cache, ["town_1"]), load_shards(cache, ["town_2"])
    train(tiny_recipe(), shards, held_out, tmp_path / "whole")
    whole = Checkpoint.load(tmp_path / "whole" / "last.pt")
    assert whole.recipe == tiny_recipe() and whole.epoch == 3 and "recall@1_night" in whole.scores[0]

    class Cut(Exception):
        pass

    import vpr_lab.training.loop as loop

    original, calls = loop.validate, []

    def cut_in_third(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise Cut
        return original(*arguments, **keywords)

    loop.validate = cut_in_third
    try:
        with pytest.raises(Cut):
            train(tiny_recipe(), shards, held_out, tmp_path / "cut")
    finally:
        loop.validate = original
    train(tiny_recipe(), shards, held_out, tmp_path / "cut")
    resumed = Checkpoint.load(tmp_path / "cut" / "last.pt")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    with pytest.raises(ConfigError, match=r"begun with other drives held out, town_2/.*, not none"):
        train(tiny_recipe(), shards, [], tmp_path / "cut")  # it said nothing, and gave the network of before
    with pytest.raises(ConfigError, match="belongs to another recipe"):
        train(tiny_recipe(lr=0.5), shards, held_out, tmp_path / "cut")
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="not a checkpoint: give"):
        Checkpoint.load(tmp_path / "bad.pt")


def test_a_world_that_is_not_there_is_not_held_out(cache: Path, tmp_path: Path) -> None:
    """A misspelt one trained on everything, and was validated on nothing, without a word."""
    config.save_yaml(tiny_recipe(epochs=1), tmp_path / "tiny.yaml")
    given = ["train", "run", str(tmp_path / "tiny.yaml"), str(cache), "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*given, "--held-out", "town_9"])
    assert isinstance(result.exception, ConfigError)
    assert "has no world town_9; it has town_1, town_2" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_towns_are_rendered_in_processes_and_a_failure_ends_it(tmp_path: Path) -> None:
    """141 towns take hours of one core; a mistake in the first must not be told after the last."""
    seen: list[tuple[int, int]] = []
    in_turn(os.mkdir, [(tmp_path / str(number),) for number in range(3)], 2, lambda *told: seen.append(told))
    assert seen == [(1, 3), (2, 3), (3, 3)] and all((tmp_path / str(number)).is_dir() for number in range(3))
    began = time.monotonic()
    with pytest.raises(subprocess.CalledProcessError):
        in_turn(subprocess.check_call, [(["false"],), *[(["sleep", "1"],)] * 40], 1)
    assert time.monotonic() - began < 20


def test_a_run_starts_from_the_parts_it_has_in_common(cache: Path, tmp_path: Path) -> None:
    """Going on from a trained decoder, or tuning a model to one's own drives: what fits is taken, and said.

    Where nothing fits the file was the wrong one, which must not pass for a start.
    """
    shards = load_shards(cache, ["town_1"])
    given = train(tiny_recipe(), shards, [], tmp_path / "first")
    other = config.to_dict(tiny_recipe())
    other["network"]["vlad_clusters"] = 3
    taken: list[str] = []
    prepare = starting_from(given, lambda parts: taken.__setitem__(slice(None), parts))
    network = start(config.from_dict(Recipe, other), shards, "cpu", prepare)
    assert taken == ["backbone", "depth_decoder", "depth_encoder", "rgb_projection"]  # not the aggregator: another size
    theirs = Checkpoint.load(given).network.state_dict()
    for name in ("depth_decoder.head.weight", "rgb_projection.weight", "backbone.stem.weight"):
        assert torch.equal(network.state_dict()[name], theirs[name])
    with pytest.raises(ConfigError, match="no part of the network"):
        prepare(build_network(NetworkConfig("single", "squeezenet", height=64, width=64)))


def test_head_learns_on_features_computed_once(cache: Path, tmp_path: Path) -> None:
    """The second stage must move the head and nothing before it, and leave a checkpoint that exports like any other."""
    shards = load_shards(cache)
    network = tiny_recipe().build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recipe = tiny_recipe(loss="multi_similarity", miner="multi_similarity")
    train_head(recipe, Checkpoint(recipe, network, 0, [], {}), shards[:3], shards[3:], tmp_path / "head.pt")
    done = Checkpoint.load(tmp_path / "head.pt")
    assert len(done.scores) == 3 and {"loss", "night", "sun"} <= done.scores[-1].keys()
    moved = {name for name, value in done.network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith(("aggregator.", "depth_encoder.", "rgb_projection.")) for name in moved)


def test_a_head_that_is_done_is_neither_trained_again_nor_written_over(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command given again, after a kill while it removed its partial file too: hours would be spent or lost."""
    shards, recipe, path = load_shards(cache), tiny_recipe(), tmp_path / "head.pt"
    source = Checkpoint(recipe, recipe.build(), 0, [], {})
    first = train_head(recipe, source, shards[:3], shards[3:], path)
    written = path.read_bytes()
    (tmp_path / "head.partial.pt").write_bytes(written)
    monkeypatch.setattr(head, "compute_features", lambda *_: pytest.fail("it is trained again"))
    again = train_head(recipe, source, shards[:3], shards[3:], path)
    assert again.scores == first.scores and not (tmp_path / "head.partial.pt").exists()
    with pytest.raises(ConfigError, match="begun with other drives"):
        train_head(recipe, source, shards[:2], shards[3:], path)
    with pytest.raises(ConfigError, match="another recipe"):
        train_head(tiny_recipe(epochs=1), source, shards[:3], shards[3:], path)
    assert path.read_bytes() == written


def test_a_head_cut_short_ends_as_if_it_had_never_stopped(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long training must fit into sessions: what the first one left is gone on with, on the same backbone only."""
    shards = load_shards(cache)
    recipe = tiny_recipe(epochs=3)
    torch.manual_seed(3)
    source = Checkpoint(recipe, recipe.build(), 0, [], {})
    whole = train_head(recipe, source, shards[:3], shards[3:], tmp_path / "whole.pt")

    class Cut(Exception):
        pass

    def cut_in_third(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise Cut
        return validate_head(*arguments)

    calls: list[int] = []
    monkeypatch.setattr(head, "validate_head", cut_in_third)
    with pytest.raises(Cut):
        train_head(recipe, source, shards[:3], shards[3:], tmp_path / "cut.pt")
    monkeypatch.undo()
    for part in ("backbone", "depth decoder"):  # of one backbone that stays as it is, there are many checkpoints
        other = Checkpoint(recipe, copy.deepcopy(source.network), 0, [], {})
        with torch.no_grad():
            next(getattr(other.network, part.replace(" ", "_")).parameters()).add_(0.1)
        for begun in ("cut.pt", "whole.pt"):
            with pytest.raises(ConfigError, match=rf"begun with another checkpoint \({part}\)"):
                train_head(recipe, other, shards[:3], shards[3:], tmp_path / begun)
    resumed = train_head(recipe, source, shards[:3], shards[3:], tmp_path / "cut.pt")
    assert len(resumed.scores) == 3 and not list(tmp_path.glob("*.partial.pt"))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
