"""A growing map closes loops: the shipped network, real files, and two of the demo's drives through one town."""

from __future__ import annotations

import dataclasses
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import ImageError, MapError
from vpr_ros.base.records import Frame
from vpr_ros.drives.open import open_drive
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.loops.loop_closer import LoopCloser
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap

BAGS = Path(__file__).parents[3] / "demo" / "bags"
FRAMES = 45


def drive_frames(name, count=FRAMES):
    """The first frames of a drive with their true poses."""
    return [(frame.load(), frame.T_map_camera) for frame in islice(open_drive(BAGS / name), count)]


@pytest.fixture(scope="module")
def overcast():
    return drive_frames("loops_overcast")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, overcast):
    """The map of an overcast session, and the true pose of each keyframe."""
    path = tmp_path_factory.mktemp("session") / "overcast.vprmap"
    closer = LoopCloser.open(path, threads=1)
    truth = {frame.stamp_ns: T for frame, T in overcast if closer.observe(frame).keyframe_id is not None}
    closer.close()
    return path, truth


def test_a_night_session_closes_loops_on_a_day_session(tmp_path, mapped):
    """The whole way: every closure is right, has a metric pose near the truth, and most keyframes have one."""
    path, places = mapped
    closer = LoopCloser.open(tmp_path / "night.vprmap", [path], threads=1)
    truth, closures = {}, []
    for frame, T_map_camera in drive_frames("loops_night"):
        observation = closer.observe(frame)
        if observation.keyframe_id is not None:
            truth[frame.stamp_ns] = T_map_camera
        closures += observation.closures
    closer.close()
    assert len({closure.stamp_ns for closure in closures}) == len(closures) > 0.4 * len(truth)
    errors = []
    for closure in closures:
        assert closure.verified and closure.match_map == "overcast.vprmap" and closure.match_drive == "overcast-1"
        T_true = geometry.inverse(places[closure.match_stamp_ns]) @ truth[closure.stamp_ns]
        errors.append(np.linalg.norm(closure.T_match_query[:3, 3] - T_true[:3, 3]))
        assert np.linalg.eigvalsh(closure.covariance)[0] > 0 and closure.inliers >= 8
    assert max(errors) < 3.0 and np.median(errors) < 0.3


def test_without_intrinsics_nothing_is_measured(tmp_path, mapped, overcast):
    """No camera, no transform: candidates are handed on only where asked for, and as what they are."""
    path, _ = mapped
    closer = LoopCloser.open(tmp_path / "blind.vprmap", [path], config=LoopCloserConfig(unverified=True), threads=1)
    observations = [closer.observe(dataclasses.replace(frame, intrinsics=None)) for frame, _ in overcast[:8]]
    closer.close()
    closures = [closure for observation in observations for closure in observation.closures]
    assert closures and all(not c.verified and c.T_match_query is None and c.covariance is None for c in closures)
    assert all(0 <= closure.probability <= 1 for closure in closures)


def test_no_keyframe_closes_a_loop_with_itself(tmp_path, overcast):
    """Without a time or distance that is recent, each was verified against itself, and a pose graph got the edge."""
    config = LoopCloserConfig(recent_distance=0.0, recent_time=0.0)
    with LoopCloser.open(tmp_path / "itself.vprmap", config=config, threads=1) as closer:
        closures = [closure for frame, _ in overcast[:12] for closure in closer.observe(frame).closures]
    assert closures and all(closure.match_id < closure.keyframe_id for closure in closures)


def test_covered_images_are_no_keyframes(tmp_path, overcast):
    """Each of them resembles every other one, wherever it was taken: each was a candidate for a loop, and a place."""
    config = LoopCloserConfig(unverified=True, recent_distance=0.0, recent_time=0.0)
    with LoopCloser.open(tmp_path / "covered.vprmap", config=config, threads=1) as closer:
        for number, (frame, _) in enumerate(overcast[:20]):
            black = dataclasses.replace(frame, image_rgb=np.zeros_like(frame.image_rgb))
            observation = closer.observe(black if 5 <= number < 15 else frame)
            if 5 <= number < 15:
                assert observation.keyframe_id is None and not observation.closures
                assert "the image shows nothing" in observation.problem
        assert closer.observe(overcast[20][0]).keyframe_id is not None  # it maps on
        assert len(closer.session) == 11


def test_a_model_without_depth_closes_loops(tmp_path, overcast):
    """Two views have no scale. Odometry between neighbouring keyframes gives it, so any network will do."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    from vpr_ros.inference.importing import Wanted, import_model, open_onnx
    from vpr_ros.inference.models import find_model

    shipped = find_model("demixvpr_mobilenet")
    flat = import_model(
        lambda _: open_onnx(shipped), tmp_path, "flat", "Apache-2.0", wanted=Wanted(descriptor="descriptor")
    )
    assert not flat.manifest.depth and flat.manifest.training["imported"]["input"] == "nhwc_uint8"
    model, first, truth = str(flat.path), tmp_path / "first.vprmap", {}
    with LoopCloser.open(first, model=model, threads=1) as closer:
        for frame, T_map_camera in overcast:
            if closer.observe(frame).keyframe_id is not None:
                truth[frame.stamp_ns] = T_map_camera
    night = drive_frames("loops_night")
    with LoopCloser.open(tmp_path / "second.vprmap", [first], model, threads=1) as closer:
        closures = [closure for frame, _ in night for closure in closer.observe(frame).closures]
    T_night = {frame.stamp_ns: T for frame, T in night}
    errors = [
        np.linalg.norm((geometry.inverse(truth[c.match_stamp_ns]) @ T_night[c.stamp_ns] - c.T_match_query)[:3, 3])
        for c in closures
    ]
    assert len(errors) > 0.4 * len(night) and np.median(errors) < 0.3 and max(errors) < 3.0


def test_the_recent_past_is_no_loop(tmp_path, overcast):
    """Driving straight on closes nothing, however alike the last images are."""
    closer = LoopCloser.open(tmp_path / "straight.vprmap", threads=1, config=LoopCloserConfig(unverified=True))
    assert not [c for frame, _ in overcast[:15] for c in closer.observe(frame).closures]
    closer.close()


def test_keyframes_are_as_far_apart_as_asked(tmp_path, overcast):
    """By way; a robot that stands still adds nothing."""
    config = LoopCloserConfig(keyframe_distance=7.0, keyframe_angle=180.0)
    closer = LoopCloser.open(tmp_path / "far.vprmap", threads=1, config=config)
    taken = [frame for frame, _ in overcast[:20] if closer.observe(frame).keyframe_id is not None]
    steps = [np.linalg.norm(b.T_odom_camera[:3, 3] - a.T_odom_camera[:3, 3]) for a, b in pairwise(taken)]
    assert len(taken) > 2 and min(steps) >= 7.0
    again = dataclasses.replace(taken[-1], stamp_ns=taken[-1].stamp_ns + 10**10)
    assert closer.observe(again).keyframe_id is None
    closer.close()


def test_a_session_is_gone_on_with(tmp_path, overcast):
    """Reopened, it is another drive of the same file, whose earlier keyframes can be met at once."""
    path = tmp_path / "day.vprmap"
    for _ in range(2):
        closer = LoopCloser.open(path, threads=1)
        closures = [c for frame, _ in overcast[:8] for c in closer.observe(frame).closures]
        closer.close()
    assert closures and {closure.match_drive for closure in closures} == {"day-1"}
    with PlaceMap.open(path) as place_map:
        assert set(map_info(place_map)["drives"]) == {"day-1", "day-2"}


def test_odometry_that_begins_anew_begins_a_drive(tmp_path, overcast):
    """Poses of two origins are never compared as if they had one."""
    closer = LoopCloser.open(tmp_path / "twice.vprmap", threads=1)
    closer.observe(overcast[0][0])
    closer.begin()
    closer.observe(overcast[1][0])
    assert [closer.session.place(row).drive for row in range(2)] == ["twice-1", "twice-2"]
    closer.save(tmp_path / "copy.vprmap")
    closer.close()
    with PlaceMap.open(tmp_path / "copy.vprmap") as copy:
        assert len(copy) == 2


def test_a_loop_closer_owns_its_maps(tmp_path, mapped, overcast):
    """A map left open locks its session for good; one that cannot be closed must not keep the others open."""
    path, _ = mapped
    session = tmp_path / "own.vprmap"
    with LoopCloser.open(session, [path], threads=1) as closer:
        closer.observe(overcast[0][0])
        with pytest.raises(MapError, match="another process adds"):
            LoopCloser.open(session, threads=1)
    for store in (closer.session, *closer.earlier):
        with pytest.raises(MapError, match="is closed: open it again"):
            len(store.place_map)
    assert not session.with_name("own.vprmap.lock").exists()


def test_mistakes_are_told(tmp_path, mapped, overcast):
    """The session as its own earlier map, a frame without odometry, an image that is none."""
    path, _ = mapped
    with pytest.raises(MapError, match="own map"):
        LoopCloser.open(path, [path])
    closer = LoopCloser.open(tmp_path / "x.vprmap", threads=1)
    with pytest.raises(ValueError, match="odometry"):
        closer.observe(dataclasses.replace(overcast[0][0], T_odom_camera=None))
    with pytest.raises(ImageError):
        closer.observe(Frame(1, np.zeros((4, 4), np.uint8), np.eye(4)))
    closer.close()
