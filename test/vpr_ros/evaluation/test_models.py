"""Models and variants compared: the figures are what they are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.image import Preprocessing
from vpr_ros.base.tally import Tally
from vpr_ros.drives.left_out import UNREADABLE
from vpr_ros.evaluation.models import FAR_AWAY, _depth_difference, measure, save_report, table
from vpr_ros.inference.describer import Manifest, fingerprint_file
from vpr_ros.inference.models import find_model


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """The shipped model, and a twin of it under another name."""
    shipped = find_model("demixvpr_mobilenet")
    twin = tmp_path / "demixvpr_mobilenet_twin.onnx"
    twin.write_bytes(shipped.read_bytes())
    replace(Manifest.load(shipped), name=twin.stem).save(twin)
    return [shipped, twin]


def test_a_twin_loses_nothing(models: list[Path], painted_drive) -> None:
    """Same weights, so cosine 1, no difference in depth and the same recall; a query off the map counts nowhere."""
    query = painted_drive("query", length=60.0, start=2.0, noise=2.0)
    far = painted_drive("far", length=20.0, start=5000.0)
    steps: list[tuple[int, int]] = []
    one, two = measure(
        models, [painted_drive(), query, far], 1, 5, on_progress=lambda done, total: steps.append((done, total))
    )
    assert one.recall_at_1 == two.recall_at_1 and list(two.recall_at_1) == ["query"] and two.recall_at_1["query"] > 0.9
    p = two.recall_at_1["query"]
    assert one.recall_error == pytest.approx((p * (1 - p) / 12) ** 0.5) and two.change_error == 0.0
    assert two.cosine_min == pytest.approx(1, abs=1e-5) and two.depth_difference == 0.0
    assert two.images == 24 + 12 + 4 and two.size_mb == one.size_mb
    assert 0 < two.latency_p50_ms <= two.latency_p95_ms
    assert two.memory_mb is None or 10 < two.memory_mb < 1000
    assert steps[-1] == (4, 4)


def test_networks_of_different_sizes(models: list[Path], tmp_path: Path, painted_drive) -> None:
    """Each sees the images at its own size; cosines of other descriptors mean nothing, and are left out."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=types.FLOAT),
        helper.make_node("Slice", ["pixels", "from", "to", "at"], ["corner"]),
        helper.make_node("Flatten", ["corner"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["descriptor"], axis=1),
    ]
    bounds = {"from": [0, 0], "to": [2, 2], "at": [1, 2]}  # four pixels of a corner: it sees next to nothing
    weights = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in bounds.items()]
    image = helper.make_tensor_value_info("image", types.UINT8, ["batch", 24, 32, 3])
    descriptor = helper.make_tensor_value_info("descriptor", types.FLOAT, ["batch", 12])
    graph = helper.make_graph(nodes, "corner", [image], [descriptor], weights)
    path = tmp_path / "corner.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    Manifest("corner", fingerprint_file(path), 12, False, Preprocessing(24, 32)).save(path)
    drives = [painted_drive(), painted_drive("query", length=80.0, start=2.0, noise=2.0)]
    one, two = measure([models[0], path], drives, 1, 5)
    assert one.recall > 0.9 and two.recall < one.recall and two.cosine_mean is None and two.depth_difference is None
    assert 0 < two.recall_error < 0.2 and two.change_error > 0
    strict = measure([path], drives, 1, 3, tolerance_m=3.0)[0]
    assert strict.recall < two.recall
    assert "±" in [str(column.header) for column in table([one, two]).columns]


def test_without_drives_only_speed_is_said(models: list[Path], tmp_path: Path) -> None:
    """A cosine over nothing would be a lie; the report's JSON has null there, and the manifest keeps the scores."""
    one, two = measure(models, [], 1, 3)
    assert two.recall is None and two.cosine_mean is None and two.depth_difference is None
    path = save_report(models[1], one, two, [])
    report = json.loads(path.read_text())
    assert path.name == "demixvpr_mobilenet_twin_report.json" and report["variant"]["cosine_mean"] is None
    assert Manifest.load(models[1]).scores["latency_p50_ms"] == two.latency_p50_ms
    rows = list(table([one, two]).columns[0].cells)
    assert rows == ["demixvpr_mobilenet", "twin"]


def test_drives_of_two_worlds_are_refused(models: list[Path], painted_drive) -> None:
    """Their poses cannot be compared."""
    with pytest.raises(DriveError, match="elsewhere"):
        measure(models[:1], [painted_drive(), painted_drive(world="elsewhere")], 1, 3)
    assert np.isfinite(measure(models[:1], [painted_drive(length=20.0)], 1, 3)[0].cosine_mean or np.nan)


def test_an_image_that_cannot_be_read_is_left_out(models: list[Path], painted_drive) -> None:
    """One of a thousand ended an hour's comparison."""

    class Broken(painted_drive):
        def image(self, along: float) -> np.ndarray:
            if along == 10.0:
                raise ImageError("the JPEG is truncated")
            return super().image(along)

    tally = Tally()
    far = painted_drive("far", length=20.0, start=5000.0)
    figures = measure(models[:1], [Broken(), painted_drive("query", start=2.0), far], 1, 5, tally=tally)
    assert figures[0].images == 23 + 24 + 4 and figures[0].recall_at_1["query"] > 0.9
    assert tally.count(UNREADABLE) == 1 and tally.count(FAR_AWAY) == 4


def test_depth_of_nothing_is_not_divided_by() -> None:
    """A network may say 0 for the sky: the figure was missing, without a word."""
    first = np.array([[[0.0, 2.0]], [[0.0, 0.0]]])
    found = _depth_difference(np.array([[[5.0, 3.0]], [[1.0, 1.0]]]), first)
    assert found[0] == 0.5 and np.isnan(found[1])
