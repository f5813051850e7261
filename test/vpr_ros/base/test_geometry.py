"""Every pose passes through these functions: a sign wrong here is a robot facing backwards."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base import geometry


@pytest.fixture
def rotations() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [geometry.rotation_from_vector(rng.normal(0, 1.5, 3)) for _ in range(50)] + [np.diag([1.0, -1.0, -1.0])]


def test_round_trips(rotations):
    """Quaternion, roll-pitch-yaw and rotation vector each give the same rotation back, half turns included."""
    for R in rotations:
        assert geometry.matrix_from_quat_xyzw(geometry.quat_xyzw_from_matrix(R)) == pytest.approx(R, abs=1e-12)
        assert geometry.matrix_from_rpy(*geometry.rpy_from_matrix(R)) == pytest.approx(R, abs=1e-9)
        assert geometry.rotation_from_vector(geometry.vector_from_rotation(R)) == pytest.approx(R, abs=1e-9)


def test_inverse_undoes(rotations):
    """inverse works on one transform and on many at once."""
    T = np.stack([geometry.transform(R, np.arange(3.0)) for R in rotations])
    assert T @ geometry.inverse(T) == pytest.approx(np.tile(np.eye(4), (len(T), 1, 1)), abs=1e-12)


def test_optical_axes_follow_rep_103():
    """A camera looking along the body's x sees the left (body y) at negative image x and up (body z) at negative y."""
    assert pytest.approx([1, 0, 0]) == geometry.R_BODY_OPTICAL @ [0, 0, 1]
    assert pytest.approx([0, 1, 0]) == geometry.R_BODY_OPTICAL @ [-1, 0, 0]
    assert pytest.approx([0, 0, 1]) == geometry.R_BODY_OPTICAL @ [0, -1, 0]


def test_heading_is_counter_clockwise_from_east():
    """A camera on a body yawed to the north has heading +90 degrees."""
    north = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi / 2) @ geometry.R_BODY_OPTICAL, [1, 2, 3])
    assert geometry.heading(north) == pytest.approx(np.pi / 2)


def test_interpolation_halves_translation_and_turn():
    """Poses at image time come from this; beyond the track or across a gap there is none."""
    first, second = np.eye(4), geometry.transform(geometry.matrix_from_rpy(0, 0, 1.0), [2.0, 0, 0])
    stamps, track = np.array([0, 100]), np.stack([first, second])
    middle = geometry.interpolate_track(stamps, track, 50, max_gap_ns=100)
    assert middle[:3, 3] == pytest.approx([1, 0, 0])
    assert geometry.rpy_from_matrix(middle[:3, :3]) == pytest.approx([0, 0, 0.5])
    assert geometry.interpolate_track(stamps, track, 101, 100) is None
    assert geometry.interpolate_track(stamps, track, 50, 99) is None
    assert geometry.interpolate_track(stamps, track, 100, 1) == pytest.approx(second)


def test_a_quaternion_that_is_none_is_refused():
    """All-zero and NaN quaternions come from uninitialised messages: never an identity pose silently."""
    for quat in ([0, 0, 0, 0], [np.nan, 0, 0, 1]):
        with pytest.raises(ValueError, match="quaternion"):
            geometry.matrix_from_quat_xyzw(np.array(quat))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-9, np.pi])
def test_the_angle_of_a_rotation_is_exact(angle):
    """Also where arccos of the trace is not: a robot that stands turns by nothing, and one may turn round."""
    R = geometry.rotation_from_vector(angle * np.array([2.0, -1.0, 2.0]) / 3)
    assert geometry.angle_of(R) == pytest.approx(angle, abs=1e-15 + 1e-12 * angle)
