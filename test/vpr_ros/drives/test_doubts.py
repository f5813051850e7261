"""Poses that turn every camera over, as a mistake does: said by every job, whatever the recording is."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.geometry import R_BODY_OPTICAL, matrix_from_rpy, transform
from vpr_ros.base.tally import Tally
from vpr_ros.drives.doubts import AGAINST_TRACK, LOOKS_UP, ON_SIDE, UPSIDE_DOWN, Z_AHEAD, count_doubtful


@pytest.mark.parametrize(
    ("R", "step", "kind"),
    [
        (R_BODY_OPTICAL, (1, 0, 0), ""),
        (matrix_from_rpy(0, 0, 0), (1, 0, 0), LOOKS_UP),  # of the body, taken for the optical frame's
        (matrix_from_rpy(np.pi / 2, 0, 0) @ R_BODY_OPTICAL, (1, 0, 0), ON_SIDE),
        (matrix_from_rpy(0, 0, 0), (0, 0, 1), Z_AHEAD),  # KITTI's world: y down, z ahead
        (matrix_from_rpy(np.pi, 0, 0) @ R_BODY_OPTICAL, (1, 0, 0), UPSIDE_DOWN),  # a world whose z is down
        (matrix_from_rpy(0, np.pi / 2, 0) @ R_BODY_OPTICAL, (1, 0, 0), ""),  # a drone that looks down
    ],
)
def test_a_mistake_is_told_from_a_way_to_mount_a_camera(painted_drive, R, step, kind: str) -> None:
    """A map of such poses was built without a word, and its places looked at the sky."""
    tally = Tally()
    T = [transform(R, k * np.array(step, float)) for k in range(20)]
    count_doubtful(tally, painted_drive(), T)
    assert tally.lines() == ([f"20 {kind} (the first: drive {painted_drive().name})"] if kind else [])
    count_doubtful(tally := Tally(), painted_drive(), [*T[:10], *(transform(R_BODY_OPTICAL, np.zeros(3)),) * 10])
    assert not tally and not count_doubtful(tally, painted_drive(), [])


@pytest.mark.parametrize("mounted", [0.0, np.pi / 2, np.pi])
@pytest.mark.parametrize(
    ("yaw_of", "doubted"), [(lambda course: course, False), (lambda course: np.pi / 2 - course, True)]
)
def test_a_compass_turns_the_other_way(painted_drive, mounted: float, yaw_of, doubted: bool) -> None:
    """Clockwise from north, as a compass and many GPS receivers give it; cameras that look aside or back are right."""
    course = np.linspace(0, 2 * np.pi, 60)
    along = np.cumsum(np.stack([np.cos(course), np.sin(course), 0 * course], axis=1) * 2.0, axis=0)
    T = [
        transform(matrix_from_rpy(0, 0, yaw_of(angle) + mounted) @ R_BODY_OPTICAL, position)
        for angle, position in zip(course, along, strict=True)
    ]
    count_doubtful(tally := Tally(), painted_drive(), T)
    assert tally.count(AGAINST_TRACK) == (60 if doubted else 0) and len(tally.lines()) == int(doubted)
    count_doubtful(tally := Tally(), painted_drive(), T[:8])  # too straight to decide
    assert not tally


def test_a_map_of_turned_cameras_says_so(painted_drive, describer, tmp_path) -> None:
    """From a build on, not only from a table."""
    from vpr_ros.drives.views import MovedDrive
    from vpr_ros.maps.builder import build_map

    upward = transform(matrix_from_rpy(0, -np.pi / 2, 0), np.zeros(3))
    turned = MovedDrive(painted_drive(length=40.0), lambda T: upward @ T)
    build_map(tmp_path / "m.vprmap", [turned], describer, tally=(tally := Tally())).close()
    assert tally.count(Z_AHEAD)
