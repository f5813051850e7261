"""What the lab trained runs on a robot: a network describes maps, a GeoWarp ranks a map's places again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
for needed in ("onnx", "onnxruntime", "pytorch_metric_learning", "cv2"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")

import cv2  # noqa: E402

from vpr_lab.export.systems import export_run  # noqa: E402
from vpr_lab.network.geowarp import GeoWarp  # noqa: E402
from vpr_lab.plugins.geowarp import GeoWarpManifest, OnnxGeoWarp  # noqa: E402
from vpr_lab.training.checkpoint import Checkpoint  # noqa: E402
from vpr_lab.training.recipe import Recipe  # noqa: E402
from vpr_ros.base import geometry  # noqa: E402
from vpr_ros.base.config import from_dict  # noqa: E402
from vpr_ros.base.errors import ConfigError, ModelError  # noqa: E402
from vpr_ros.base.image import Preprocessing, preprocess, thumbnail  # noqa: E402
from vpr_ros.base.records import Frame  # noqa: E402
from vpr_ros.inference.describer import Manifest  # noqa: E402
from vpr_ros.inference.open import open_describer  # noqa: E402
from vpr_ros.localize.config import LocalizerConfig, RerankConfig, SearchConfig  # noqa: E402
from vpr_ros.localize.localizer import Localizer  # noqa: E402
from vpr_ros.maps.place_map import MapModel, PlaceMap  # noqa: E402

SIDE = 96
PLAIN = LocalizerConfig(search=SearchConfig(mean_centring=False))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `vpr lab run gem geowarp` leaves it, of networks that have learnt nothing."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    recipe = from_dict(Recipe, {"network": {"kind": "single", "backbone": "mobilenet_v1", "height": 64, "width": 80}})
    Checkpoint(recipe, recipe.build(), 1, [], {}).save(folder / "gem" / "best.pt")
    (folder / "gem" / "row.json").write_text(json.dumps({"scores": {"night": {"queries": 3}}}))
    (folder / "geowarp").mkdir()
    torch.save(GeoWarp().state_dict(), folder / "geowarp" / "geowarp.pt")
    (folder / "geowarp" / "training.json").write_text(json.dumps({"encoder": "gem", "image_size": [SIDE, SIDE]}))
    return folder


@pytest.fixture(scope="module")
def exported(runs: Path) -> tuple[Path, Path]:
    """The model and the GeoWarp of it."""
    export_run(runs / "gem", runs / "out" / "gem.onnx")
    export_run(runs / "geowarp", runs / "out" / "warp.onnx")
    return runs / "out" / "gem.onnx", runs / "out" / "warp.json"


def scene(seed: int) -> np.ndarray:
    """(120, 160, 3) uint8; no two look alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


def test_a_recipes_network_becomes_a_model(exported: tuple[Path, Path]) -> None:
    """Its manifest says which recipe it is of and what it reached, and any backend opens it."""
    describer = open_describer(exported[0], "onnx", 1)
    assert describer.manifest.training["lab_recipe"] == "gem" and describer.manifest.scores["night"]["queries"] == 3
    assert describer.describe(np.zeros((2, 64, 80, 3), np.uint8)).descriptors.shape == (2, describer.manifest.dimension)


def test_geowarp_puts_a_warped_copy_first(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """A localiser on a map whose descriptors say nothing: the second look at thumbnails must find the place that shows
    what the image shows, seen from a little aside; the similarities stay the search's.
    """
    manifest = Manifest.load(exported[0])
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
    path = tmp_path / "street.vprmap"
    with PlaceMap.create(path, model, "street") as made:
        for number in range(8):
            T = geometry.transform(geometry.R_BODY_OPTICAL, np.array([40.0 * number, 0.0, 1.5]))
            jpeg = None if number == 6 else thumbnail(scene(number))
            made.add("d", number, T, np.full(manifest.dimension, manifest.dimension**-0.5, np.float32), jpeg)
    corners = np.array([[0, 0], [159, 0], [159, 119], [0, 119]], np.float32)
    moved = corners + np.array([[6, 4], [0, 0], [0, 0], [6, -4]], np.float32)
    seen = cv2.warpPerspective(scene(5), cv2.getPerspectiveTransform(moved, corners), (160, 120))
    config = replace(PLAIN, rerank=RerankConfig((f"geowarp model={exported[1]}",), 8))
    plain = Localizer.open(path, str(exported[0]), "onnx", PLAIN, 1)
    localizer = Localizer.open(path, str(exported[0]), "onnx", config, 1)
    answer, before = (each.localize(Frame(0, seen)) for each in (localizer, plain))
    assert answer.matches[0].place_id == 6 and before.matches[0].place_id != 6  # ids count from 1
    assert [match.similarity for match in answer.matches] == [match.similarity for match in before.matches]
    assert answer.timings_ms["geowarp"] > 0
    localizer.localize(Frame(1, seen))
    assert localizer.rerankers[0]._encoded.cache_info()[:2] == (8, 8)  # hits, misses: a place is encoded once
    numbers = [match.place_id for match in answer.matches], [match.place_id for match in before.matches]
    assert numbers[0].index(7) == numbers[1].index(7)  # without a thumbnail a place stays where it was
    for one in (plain, localizer):
        one.close()


def test_the_exported_geowarp_is_torchs(runs: Path, exported: tuple[Path, Path]) -> None:
    """What ranks on the robot is what was measured in the lab, for any number of places."""
    geowarp = OnnxGeoWarp(exported[1], 1)
    size = geowarp.manifest.preprocessing
    assert (size.height, size.width) == (SIDE, SIDE) and geowarp.manifest.training["encoder"] == "gem"
    images = np.stack([preprocess(scene(number), size) for number in range(4)])
    features = geowarp.encode(images)
    backbone = Checkpoint.load(runs / "gem" / "best.pt").network.eval().backbone
    with torch.inference_mode():
        theirs = backbone(torch.from_numpy(images)).place
        scores = GeoWarp().eval().score(theirs[:1].expand(4, -1, -1, -1), theirs).numpy()
    assert np.allclose(features, theirs.numpy(), atol=1e-3)
    for count in (1, 4):
        assert np.allclose(geowarp.score(features[0], features[:count]), scores[:count], atol=1e-4)


def test_files_that_do_not_fit_are_refused(runs: Path, exported: tuple[Path, Path], tmp_path: Path) -> None:
    """An encoder of one training and a regression of another rank at random: each file has its fingerprint."""
    files = {path.name: path.read_bytes() for path in exported[1].parent.glob("warp*")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert GeoWarpManifest.load(tmp_path / "warp.onnx") == GeoWarpManifest.load(exported[1])
    (tmp_path / "warp_encoder.onnx").write_bytes(files["warp_score.onnx"])
    with pytest.raises(ModelError, match=r"warp_encoder\.onnx is not the file warp\.json describes"):
        OnnxGeoWarp(tmp_path / "warp.json")
    (tmp_path / "warp_score.onnx").unlink()
    with pytest.raises(ModelError, match="NAME_encoder"):
        OnnxGeoWarp(tmp_path / "warp.json")
    (tmp_path / "warp_score.onnx").write_bytes(files["warp_score.onnx"])
    manifest = Manifest("warp", "f" * 64, 4, False, Preprocessing())
    (tmp_path / "warp.json").write_text(json.dumps(asdict(manifest)))
    with pytest.raises(ModelError, match="not a GeoWarp manifest"):
        OnnxGeoWarp(tmp_path / "warp.json")


def test_folders_without_anything_to_export_are_refused(runs: Path, tmp_path: Path) -> None:
    """An ensemble is no file of its own; a GeoWarp whose encoder is unknown is none either."""
    with pytest.raises(ModelError, match=r"neither a network .*ingredient"):
        export_run(tmp_path, tmp_path / "x.onnx")
    (tmp_path / "geowarp.pt").write_bytes((runs / "geowarp" / "geowarp.pt").read_bytes())
    with pytest.raises(ModelError, match="run its recipe again"):
        export_run(tmp_path, tmp_path / "x.onnx")
    network = {"kind": "single", "height": 64, "width": 64, "depth": "true", "depth_as_image": True}
    recipe = from_dict(Recipe, {"network": network})
    Checkpoint(recipe, recipe.build(), 1, [], {}).save(tmp_path / "depth" / "best.pt")
    with pytest.raises(ConfigError, match="not on a camera alone"):
        export_run(tmp_path / "depth", tmp_path / "x.onnx")
