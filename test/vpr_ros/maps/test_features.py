"""Maps built offline hold local features: else no later session could ever close a verified loop on them."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError, DriveError, MapError
from vpr_ros.base.records import Frame
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.open import open_describer
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.builder import add_drive, build_map
from vpr_ros.maps.editor import merge_maps
from vpr_ros.maps.features import choose_extractor
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.matching.local_features import LocalFeatures

CAMERA = Intrinsics.pinhole(160, 120, 120.0)


@pytest.fixture
def calibrated_drive(painted_drive):
    """A painted drive whose camera is known."""

    class Calibrated(painted_drive):  # type: ignore[misc]
        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, intrinsics=CAMERA)

    return Calibrated


@pytest.fixture
def street(tmp_path, describer, calibrated_drive):
    with build_map(
        tmp_path / "street.vprmap", [calibrated_drive(length=50.0)], describer, extractor=choose_extractor("orb")
    ) as made:
        yield made


def features(place_map: PlaceMap) -> dict[int, LocalFeatures]:
    """By stamp, of the places that have some."""
    places = place_map.whereabouts
    found = {int(stamp): place_map.features(int(i)) for i, stamp in zip(places.ids, places.stamps_ns, strict=True)}
    return {stamp: LocalFeatures.from_bytes(data) for stamp, data in found.items() if data is not None}


def test_a_place_keeps_what_mapping_mode_would_keep(tmp_path, street, describer, calibrated_drive):
    """The same features at the same rays, with the depth of the whole image and not of one of its sides."""
    offline = features(street)
    closer = LoopCloser.open(tmp_path / "session.vprmap", model=describer.manifest.name, backend="onnx")
    closer.extractor = choose_extractor("orb")
    for frame in calibrated_drive(length=50.0):
        closer.observe(Frame(frame.stamp_ns, frame.read(), frame.T_map_camera, CAMERA))
    closer.close()
    with PlaceMap.open(tmp_path / "session.vprmap") as session:
        live = features(session)
    assert offline.keys() == live.keys() and len(offline) == 10
    for stamp, found in offline.items():
        assert found.kind == "orb" and len(found) > 0
        np.testing.assert_array_equal(found.rays, live[stamp].rays)
        np.testing.assert_array_equal(found.descriptors, live[stamp].descriptors)
        np.testing.assert_allclose(found.depths, live[stamp].depths, rtol=0.02)
        assert (found.depths > 0).any()


def test_a_session_closes_verified_loops_on_a_map_built_offline(tmp_path, calibrated_drive):
    """What it is for: on the demo's own drive, day on day."""
    bag = Path(__file__).parents[3] / "demo" / "bags" / "loops_overcast"
    if not bag.is_dir():
        pytest.skip("the demo's bags are not there")

    class First:
        name, world = "first", "town"

        def __len__(self):
            return 16

        def __iter__(self):
            return islice(iter(open_drive(bag)), 16)

    path = tmp_path / "offline.vprmap"
    build_map(path, [First()], open_describer(threads=1), 2.0, extractor=choose_extractor("xfeat")).close()
    closer = LoopCloser.open(tmp_path / "session.vprmap", [path], threads=1)
    closures = [closure for frame in First() for closure in closer.observe(frame.load()).closures]
    closer.close()
    assert closures and all(closure.verified and closure.match_map == path.name for closure in closures)


def test_a_drive_without_a_camera_is_refused_before_anything_is_written(tmp_path, street, describer, painted_drive):
    """Places silently without features would close no loop, and nobody would know why."""
    with pytest.raises(DriveError, match="drive painted has no camera intrinsics"):
        build_map(tmp_path / "x.vprmap", [painted_drive()], describer, extractor=choose_extractor("sift"))
    assert not (tmp_path / "x.vprmap").exists()
    with pytest.raises(DriveError, match="--local-features none"):
        add_drive(street, painted_drive(name="more", start=1000.0), describer, extractor=choose_extractor("", street))
    assert len(street) == 10
    assert add_drive(street, painted_drive(name="more", start=1000.0), describer).new == 24
    assert map_info(street)["local_features"] == "orb, of 10 places"


def test_a_camera_that_is_lost_on_the_way_is_told_of(tmp_path, describer, calibrated_drive):
    class Forgetful(calibrated_drive):  # type: ignore[misc, valid-type]
        def __iter__(self):
            for number, frame in enumerate(super().__iter__()):
                yield dataclasses.replace(frame, intrinsics=CAMERA if number < 12 else None)

    with pytest.raises(DriveError, match="has no camera intrinsics"):
        build_map(tmp_path / "x.vprmap", [Forgetful()], describer, extractor=choose_extractor("orb"))


def test_a_model_without_depth_has_features_too(tmp_path, describer, calibrated_drive):
    """Their depths are unknown in the file. Neighbouring places measure them when they are needed."""

    class Flat:
        manifest, batch_sizes = dataclasses.replace(describer.manifest, depth=False), (1,)

        def describe(self, images):
            return dataclasses.replace(describer.describe(images), depth=None)

    path = tmp_path / "x.vprmap"
    with build_map(path, [calibrated_drive()], Flat(), extractor=choose_extractor("orb")) as place_map:
        features = LocalFeatures.from_bytes(place_map.features(place_map.places.ids[0]))
    assert len(features) and not features.depths.any()


def test_a_map_goes_on_with_its_own_kind(tmp_path, street, describer, calibrated_drive):
    """A killed build goes on with the plain command; another kind is refused, as the two never match."""
    more = calibrated_drive(name="more", length=20.0, start=1000.0)
    assert add_drive(street, more, describer, extractor=choose_extractor("", street)).new == 4
    assert map_info(street)["local_features"] == "orb, of 14 places"
    with pytest.raises(MapError, match="orb, which are never matched with those of sift"):
        add_drive(street, calibrated_drive(name="third"), describer, extractor=choose_extractor("sift"))
    with build_map(tmp_path / "bare.vprmap", [calibrated_drive(length=5.0)], describer) as bare:
        assert choose_extractor("", bare) is None and map_info(bare)["local_features"] == "none"
        learned = dataclasses.replace(next(iter(features(street).values())), kind="xfeat").to_bytes()
        bare.add("other", 1, np.eye(4), bare.places.descriptors[0], None, learned)
        assert choose_extractor("", bare).kind == "xfeat"
        with pytest.raises(MapError, match="never matched"):
            merge_maps(tmp_path / "both.vprmap", [street.path, bare.path])
    with pytest.raises(ConfigError, match="choose xfeat, sift, orb"):
        choose_extractor("surf")


def test_merging_carries_them_along(tmp_path, street, describer, calibrated_drive):
    """Under the places' new numbers; places without any stay without."""
    with build_map(
        tmp_path / "bare.vprmap", [calibrated_drive(name="bare", length=15.0, start=1000.0)], describer
    ) as bare:
        pass
    with merge_maps(tmp_path / "both.vprmap", [bare.path, street.path]) as merged:
        assert map_info(merged)["local_features"] == "orb, of 10 places"
        assert [merged.features(place_id) for place_id in (1, 2, 3)] == [None] * 3
        assert [merged.features(3 + i) for i in range(1, 11)] == [street.features(i) for i in range(1, 11)]
