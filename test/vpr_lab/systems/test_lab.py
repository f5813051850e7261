"""The lab: every recipe that ships trains, ranks and gets its row, on a world so small that it takes a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("pytorch_metric_learning", reason="pytorch-metric-learning is not installed")

from tiny_lab import TINY  # noqa: E402

from vpr_lab.export.checkpoint import export  # noqa: E402
from vpr_lab.systems.bench import Bench  # noqa: E402
from vpr_lab.systems.data import LabData  # noqa: E402
from vpr_lab.systems.evaluate import rank_drives, scores  # noqa: E402
from vpr_lab.systems.rankers import DescriptorRanker, EnsembleRanker  # noqa: E402
from vpr_lab.systems.recipe import known_recipes, load_recipe, nested, recipe_name, with_variants  # noqa: E402
from vpr_lab.systems.table import markdown, put_into, read_rows  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_ros.base.errors import ConfigError, DriveError, MissingDependencyError  # noqa: E402
from vpr_ros.base.files import write_json  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402

GEOWARP = {"settings.steps": 1, "settings.batch": 2, "settings.candidates": 3}
ENSEMBLES = [name for name in known_recipes() if load_recipe(name).task in ("ensemble", "multiscale", "model")]
CROSSLOCATE = [name for name in known_recipes() if load_recipe(name).task == "crosslocate"]
VIEWS = {
    "settings.training": {
        "network": {"backbone": "squeezenet", "weights": "", "size_px": 64},
        "steps": 1,
        "pool": 40,
        "positive_max_m": 100.0,  # few views are enough
        "negatives": 3,
    },
    "settings.views": {"size_px": 64, "every_m": 120.0, "across_m": [0.0]},
    "settings.towns": [11],
    "settings.test_town": 11,
    "settings.photographs": 3,
    "settings.conditions": ["overcast"],
}
TRAINED = [name for name in known_recipes() if load_recipe(name).task == "train"]


@pytest.fixture(scope="session")
def bench(tiny_shards: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Learns from town_1 and is measured on town_2."""
    first, second = tiny_shards[:3], tiny_shards[3:]
    return Bench(LabData(first, [], second), tmp_path_factory.mktemp("lab"), overrides=TINY, pictures=False)


def with_settings(bench: Bench, **changes: Any) -> Bench:
    """The same, on its folder, with other settings of the task."""
    return Bench(bench.data, bench.folder, overrides={**TINY, **changes})


@pytest.mark.parametrize("name", TRAINED)
def test_every_recipe_trains_and_is_measured(bench: Bench, name: str) -> None:
    """A researcher runs any of them by name: each must learn, rank every query and leave its row and its checkpoint."""
    row = bench.run(name)
    assert set(row["scores"]) == {"night", "sun"} and row["steps"] == 1
    for found in row["scores"].values():
        assert found["queries"] == 10 and 0 <= found["recall"][1] <= found["recall"][5] <= 1
    assert json.loads((bench.folder / name / "row.json").read_text())["recipe"] == name


@pytest.mark.parametrize("name", ENSEMBLES)
def test_what_is_made_of_other_recipes_is_measured(bench: Bench, name: str) -> None:
    """Ensembles and several scales reuse what their ingredients learnt."""
    row = bench.run(name)
    assert set(row["scores"]) == {"night", "sun"}


@pytest.mark.parametrize("name", CROSSLOCATE)
def test_photographs_are_searched_in_rendered_views(bench: Bench, name: str) -> None:
    """Its worlds are rendered, not driven: the recipe must make them, train and leave the same kind of row."""
    try:
        row = with_settings(bench, **VIEWS).run(name)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    assert set(row["scores"]) == {"any direction", "within 30 degrees", "chance"} and row["steps"] == 1
    found = row["scores"]["any direction"]["recall"]
    assert 0 <= found[1] <= found[10] <= found[100] <= 1


def test_every_recipe_is_tried_here(bench: Bench) -> None:
    """A recipe of a new task must not pass by these tests."""
    own = {"geowarp", "geowarp_untrained", "lite0_geowarp", "soup_greedy", "soup_uniform"}
    assert set(known_recipes()) == {*TRAINED, *ENSEMBLES, *CROSSLOCATE, *own}


def test_pictures_are_drawn(bench: Bench) -> None:
    """One for each query drive, of queries beside their first five places."""
    Bench(bench.data, bench.folder, overrides=TINY).run("gem")
    assert len(list((bench.folder / "gem").glob("top5_*.png"))) == 2


def test_geowarp_ranks_again_what_its_ingredient_found(bench: Bench) -> None:
    """It may change the order of the first places only: which ones they are is the descriptor's choice."""
    small = with_settings(bench, **GEOWARP)
    query, reference = bench.data.test[1], bench.data.test[0]
    before, _ = bench.make("gem").ranker.rank(query, reference, 5)
    after, _ = small.make("geowarp").ranker.rank(query, reference, 5)
    assert np.array_equal(np.sort(before[:, :3], axis=1), np.sort(after[:, :3], axis=1))
    assert np.array_equal(before[:, 3:], after[:, 3:])


def test_a_greedy_soup_is_never_worse_than_its_best_ingredient(bench: Bench, tiny_shards: list[Any]) -> None:
    """On the data it was chosen on, that is; the uniform one may be."""
    data = LabData(tiny_shards[:3], tiny_shards[3:], tiny_shards[3:])
    kitchen = Bench(data, bench.folder / "kitchen", overrides=TINY, pictures=False)
    row = kitchen.run("soup_greedy")
    assert row["validation"] >= max(row["validation_of_ingredients"])
    assert kitchen.run("soup_uniform")["members"] == [0, 1, 2, 3]


def test_a_folder_keeps_what_was_trained_and_refuses_another(bench: Bench) -> None:
    """A row must come from the recipe it names: a folder trained otherwise is no shortcut."""
    bench.make("gem")
    stamp = (bench.folder / "gem" / "best.pt").stat().st_mtime_ns
    bench.make("gem")
    assert (bench.folder / "gem" / "best.pt").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="trained otherwise"):
        with_settings(bench, **{"train.lr": 0.5}).make("gem")


def test_folders_of_the_earlier_recipes_are_found_again(bench: Bench) -> None:
    """Until 0.1.0 a published network stood under "system": what was trained then must not be trained again."""
    bench.make("gem")
    path = bench.folder / "gem" / "training.json"
    facts = json.loads(path.read_text())
    train = facts["trained_by"]["train"]
    old = ("kind", "backbone", "depth_backbone", "decoder_backbone", "head", "depth", "depth_as_image", "depth_view",
           "depth_taught_by", "height", "width")  # fmt: skip
    train["system"] = {name: train["network"][name] for name in old}
    train["network"] = {"backbone": "mobilenet_v1", "depth_backbone": "", "rgb_channels": 128}
    train["pca"] = not train.pop("initialise_head")
    path.write_text(json.dumps(facts))
    stamp = (bench.folder / "gem" / "best.pt").stat().st_mtime_ns
    bench.make("gem")
    assert (bench.folder / "gem" / "best.pt").stat().st_mtime_ns == stamp
    train["system"]["head"]["kind"] = "mac"
    path.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"trained otherwise \(train\.network\.head\.kind mac"):
        bench.make("gem")
    train["system"]["head"]["kind"] = "gem"
    path.write_text(json.dumps(facts))


def test_every_recipe_can_be_trained_in_full(bench: Bench) -> None:
    """--full is not run here: what it asks for must at least be a network."""
    full = Bench(bench.data, bench.folder, full=True)
    for name in TRAINED:
        recipe = full.training(load_recipe(name))
        assert recipe.epochs >= 15
        network = recipe.build(with_weights=False)
        parts = {part for part, module in network.named_children() if any(True for _ in module.parameters())}
        assert network.dimension > 0 and set(recipe.train_only) <= parts
        starts = load_recipe(name).starts
        if recipe.train_only and recipe.objective != "none" and "all" not in starts:
            assert parts <= {*recipe.train_only, *starts}, f"{name}: what is not trained must come from somewhere"


def test_scales_see_queries_at_the_networks_size(bench: Bench) -> None:
    """One scale of 1 is the plain descriptor: drives are cached larger than a short training's network takes."""
    query, reference = bench.data.test[1], bench.data.test[0]
    once = with_settings(bench, **{"settings.scales": [1.0]}).make("multiscale_avg").ranker
    plain = bench.make("gem").ranker
    assert np.allclose(once.rank(query, reference, 5)[1], plain.rank(query, reference, 5)[1], atol=1e-3)


def test_a_decoder_that_places_taught_tells_no_depth(bench: Bench) -> None:
    """RGB+ has a decoder whose output is no depth: a robot must not measure with it."""
    network = bench.make("rgbplus_mac").network
    assert network is not None and not network.hallucinates
    assert network(torch.zeros((1, 64, 64, 3), dtype=torch.uint8))[1] is None


def test_the_night_decoder_learns_alone(bench: Bench) -> None:
    """Its recipe goes on from RGBtD and must leave every other part as it was."""
    before, after = (bench.make(name).network for name in ("rgbtd_mac", "rgbtd_mac_night"))
    assert before is not None and after is not None
    moved = {n for n, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[n])}
    assert moved and all(name.startswith("depth_decoder.") for name in moved)


@pytest.mark.parametrize("name", ["netvlad", "rgbtd_mac", "demixvpr", "hallucination_mac"])
def test_a_lab_network_runs_on_the_robot(bench: Bench, name: str, tmp_path: Path) -> None:
    """Any system that needs the image alone exports, depth or not, and its descriptors are the same in ONNX Runtime."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    bench.make(name)
    parity = export(Checkpoint.load(bench.folder / name / "best.pt"), tmp_path / f"{name}.onnx")
    assert parity.cosine_min > 0.9999
    describer = open_describer(tmp_path / f"{name}.onnx")
    size = describer.manifest.preprocessing
    found = describer.describe(np.zeros((1, size.height, size.width, 3), np.uint8))
    assert (found.depth is not None) == describer.manifest.depth == (name in ("rgbtd_mac", "demixvpr"))


def test_recall_by_hand(tiny_shards: list[Any]) -> None:
    """Places are 30 m apart: a query is right at 1 where its own place comes first, at 5 where among the first five."""
    drives = tiny_shards[:3]
    own = np.eye(10, dtype=np.float32)
    shifted = np.roll(own, 1, axis=1)  # every query takes its neighbour's place, then its own
    by_condition = {"overcast": own, "sun": own, "night": shifted + 0.5 * own}
    found = scores(rank_drives(DescriptorRanker(lambda shard: by_condition[shard.condition]), drives, "overcast")[0])
    assert found["sun"].recall[1] == 1.0 and found["night"].recall[1] == 0.0 and found["night"].recall[5] == 1.0
    assert found["night"].within[50.0] == pytest.approx(0.9)  # the last place's neighbour is the first one, 270 m away
    with pytest.raises(DriveError, match="seen twice"):
        rank_drives(DescriptorRanker(lambda shard: own), drives[:1], "overcast")


def test_references_are_described_for_the_queries_condition(tiny_shards: list[Any]) -> None:
    """The brightness filter darkens the map for queries by night; those by day must search in it as it is."""
    own, other = np.eye(10, dtype=np.float32), np.roll(np.eye(10, dtype=np.float32), 1, axis=0)
    drives = {shard.condition: shard for shard in tiny_shards[:3]}
    ranker = DescriptorRanker(lambda shard: own, by_condition={"night": lambda shard: other})
    first = {name: ranker.rank(drives[name], drives["overcast"], 1)[0][:, 0].tolist() for name in ("sun", "night")}
    assert first["sun"] == list(range(10)) and first["night"] == [*range(1, 10), 0]


def test_ensemble_takes_what_both_found(tiny_shards: list[Any]) -> None:
    """SIF: a place in both lists comes before the first list's own best."""

    class Listed:
        def __init__(self, *ids: int) -> None:
            self.ids = np.array([ids])

        def rank(self, query, reference, count):
            return self.ids[:, :count], np.linspace(0, 1, self.ids.shape[1])[None, :count]

    order, _ = EnsembleRanker(Listed(4, 2, 7), Listed(2, 9, 8), "sif").rank(tiny_shards[0], tiny_shards[0], 3)
    assert order.tolist() == [[2, 4, 7]]
    with pytest.raises(ConfigError, match="nif"):
        EnsembleRanker(Listed(1), Listed(2), "best")


def test_recipes_are_like_others(tmp_path: Path) -> None:
    """A recipe says only what differs, a misspelt name is found, a circle is an error and not a hang."""
    (tmp_path / "a.yaml").write_text("like: gem\nabout: mine\ntrain: {network: {head: {dimension: 64}}}\n")
    own = load_recipe(str(tmp_path / "a.yaml"))
    assert own.train["network"]["head"] == {"kind": "gem", "dimension": 64} and own.published == ()
    assert nested({"a.b": 1, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
    (tmp_path / "b.yaml").write_text("like: b\n")
    with pytest.raises(ConfigError, match="circle"):
        load_recipe(str(tmp_path / "b.yaml"))
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        load_recipe("gem", overrides={"trian.lr": 1})
    with pytest.raises(ConfigError, match="cosplace"):
        load_recipe("cosplacee")


def test_a_variant_is_no_folder(tmp_path: Path) -> None:
    """Its row landed where no table looks for it, or outside of the folder of results."""
    (tmp_path / "own.yaml").write_text("like: gem\nvariants: {'../up': {about: x}}")
    with pytest.raises(ConfigError, match="a variant cannot be called"):
        load_recipe(f"{tmp_path}/own.yaml:../up")


def test_variants_are_recipes_of_one_file(tmp_path: Path) -> None:
    """A sweep is one file. Its members keep the names of earlier folders and tables, and inherit from each other."""
    assert load_recipe("gain:best") == load_recipe("gain_best") and recipe_name("gain:best") == "gain_best"
    assert load_recipe("gain_best").about != load_recipe("gain_after_parts").about
    assert with_variants("multiscale") == [f"multiscale:{pool}" for pool in ("avg", "max", "min", "sum")]
    assert with_variants("decoder") == ["decoder"] and with_variants("decoder:long") == ["decoder:long"]
    path = tmp_path / "mine.yaml"
    path.write_text(
        "like: gem\nabout: mine\npublished: [demixvpr/gem]\ntrain: {lr: 0.5}\n"
        "variants:\n"
        "  slow: {about: slow, train: {lr: 0.1}}\n"
        "  slower: {like: slow, train: {epochs: 9}}\n"
        "  other: {like: mac}\n"
    )
    own, slower, other = (load_recipe(f"{path}{variant}") for variant in ("", ":slower", ":other"))
    assert own.train["lr"] == 0.5 and own.published and recipe_name(f"{path}:slower") == "mine_slower"
    assert slower.train["lr"] == 0.1 and slower.train["epochs"] == 9 and (slower.about, slower.published) == ("", ())
    assert other.train["lr"] == 0.5 and other.train["network"]["head"]["kind"] == "mac"
    for name, message in (
        ("gain", "is a list of variants: name one of gain:rgb"),
        ("gain:bets", "has no variant 'bets'"),
        (f"{path}:fast", "choose one of slow, slower, other"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_recipe(name)
    path.write_text("variants: {a: {like: b}, b: {like: a}}\n")
    with pytest.raises(ConfigError, match="circle: mine_a -> mine_b -> mine_a"):
        load_recipe(f"{path}:a")
    path.write_text("variants: [a, b]\n")
    with pytest.raises(ConfigError, match="variants must be names"):
        load_recipe(f"{path}:a")


def test_table_puts_rows_beside_the_papers(bench: Bench, tmp_path: Path) -> None:
    """The page keeps its prose; a paper's figures are said to be of other data."""
    bench.run("gem")
    page = tmp_path / "lab.md"
    page.write_text("before\n<!-- vpr lab table -->\nYESTERDAY\n<!-- end of the table -->\nafter\n")
    put_into(page, markdown(read_rows([bench.folder])))
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "YESTERDAY" not in text
    assert "OTHER data" in text and "SF-XS val 77.5" in text and "| `gem` |" in text
    another = json.loads((bench.folder / "gem" / "row.json").read_text()) | {"seed": 1}
    another["scores"]["sun"]["recall"]["1"] += 0.1
    write_json(tmp_path / "gem" / "row.json", another)
    merged = next(line for line in markdown(read_rows([bench.folder, tmp_path])).splitlines() if "`gem`" in line)
    assert " ±7.1 |" in merged and " ±0.0 |" in merged and "| 0, 1 |" in merged
    with pytest.raises(ConfigError, match="twice with one seed"):
        read_rows([bench.folder, bench.folder])
    page.write_text("no markers")
    with pytest.raises(ConfigError, match="no lines"):
        put_into(page, "x")
