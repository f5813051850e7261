"""What a robot sends: only what the map does not know, only where the robot was sure, with poses of the map."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.fleet.constants import OUTBOX
from vpr_ros.fleet.outbox import KNOWN, UNSURE, collect
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap

LENGTH = 150.0


@pytest.fixture
def street(tmp_path, describer, painted_drive) -> Path:
    path = tmp_path / "street.vprmap"
    build_map(path, [painted_drive(length=LENGTH)], describer).close()
    return path


@pytest.fixture
def localizer(street):
    with Localizer.open(street, backend="onnx", threads=1) as opened:
        yield opened


def only(outbox: Path) -> PlaceMap:
    (path,) = outbox.glob("*.vprmap")
    return PlaceMap.open(path)


def test_what_the_map_knows_stays_at_home_but_for_anchors(localizer, tmp_path, painted_drive):
    """The same street in the same light: one keyframe in ten goes, to check the poses by."""
    tally = Tally()
    count = collect(localizer, painted_drive(name="again", length=LENGTH, start=1.0), tmp_path / "outbox", tally)
    assert tally.count(KNOWN) + count == 30 and count == 30 / OUTBOX.anchor_every


def test_another_look_of_a_street_is_sent_once_the_robot_is_sure(localizer, tmp_path, painted_drive):
    """With poses, views and pictures as the map has them; an unsure start is not guessed at."""
    tally = Tally()
    drive = painted_drive(name="fog", length=LENGTH, start=1.0, noise=40.0)
    count = collect(localizer, drive, tmp_path / "outbox", tally)
    assert count >= 10 and tally.count(UNSURE) >= OUTBOX.least_pass
    truth = {frame.stamp_ns: frame.T_map_camera for frame in drive}
    with only(tmp_path / "outbox") as sent:
        assert sent.model == localizer.place_map.model and sent.drive_names() == ["fog"]
        for stamp_ns, T in zip(sent.places.stamps_ns, sent.places.T_map_camera, strict=True):
            np.testing.assert_allclose(T, localizer.place_map.map_pose(truth[int(stamp_ns)]), atol=1e-9)
        assert all(sent.thumbnail(place_id) for place_id in sent.places.ids)
    before = next((tmp_path / "outbox").glob("*.vprmap")).read_bytes()
    assert collect(localizer, drive, tmp_path / "outbox") == count  # waits already
    assert next((tmp_path / "outbox").glob("*.vprmap")).read_bytes() == before


def test_without_poses_the_localisers_are_sent(localizer, tmp_path, painted_drive):
    """Most robots of a fleet have nothing better."""

    class Unposed(painted_drive):  # type: ignore[misc]
        def __iter__(self):
            for frame in super().__iter__():
                yield dataclasses.replace(frame, T_map_camera=None)

    drive = Unposed(name="unposed", world="", length=LENGTH, start=1.0, noise=40.0)
    assert collect(localizer, drive, tmp_path / "outbox") >= 10
    with only(tmp_path / "outbox") as sent:
        seconds = (sent.places.stamps_ns - 10**9) / 1e9
        assert np.median(np.abs(sent.places.positions[:, 0] - (1.0 + 5.0 * seconds))) < 6.0


def test_a_robot_that_is_lost_sends_nothing(localizer, tmp_path, painted_drive):
    tally = Tally()
    drive = painted_drive(name="elsewhere", length=LENGTH, noise=120.0)
    assert collect(localizer, drive, tmp_path / "outbox", tally) == 0
    assert tally.count(UNSURE) == 30 and not list((tmp_path / "outbox").glob("*"))
    with pytest.raises(DriveError, match="lies in world 'mars'"):
        collect(localizer, painted_drive(world="mars"), tmp_path / "outbox")
