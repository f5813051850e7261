"""The camera's mounting: what a parameter or TF says that cannot be meant."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vpr_ros.base.geometry import T_BODY_OPTICAL, transform_from_xyzrpy
from vpr_ros.ros.input.mount import CameraMount

OPTICAL = (0.0, 0.0, 1.0, -np.pi / 2, 0.0, -np.pi / 2)  # as camera_pose, which is of camera_link, a mistake


@pytest.mark.parametrize(
    ("camera_pose", "says"),
    [
        ((0.0, 0.0, 1.0, 0.0, 0.0, 0.0), ""),
        ((0.0, 0.0, 1.0, 0.0, 0.6, 3.1), ""),  # looks down and back
        ((0.0, 0.0, 1.0, 0.0, np.pi / 2, 0.0), ""),  # a drone's
        (OPTICAL, "by camera_pose the camera "),
        (
            (0.0, 0.0, 1.0, 0.0, -np.pi / 2, 0.0),
            "by camera_pose the camera looks straight up: it must be of camera_link",
        ),
    ],
)
def test_a_camera_that_looks_up_or_lies_on_its_side_is_doubted(camera_pose: tuple[float, ...], says: str) -> None:
    """The robot itself was published as lying on its side, LOCALIZED at 98 %."""
    T_base_camera = transform_from_xyzrpy(camera_pose) @ T_BODY_OPTICAL
    assert CameraMount("base_link", T_base_camera).doubt(T_base_camera, "camera").startswith(says or "")
    assert bool(CameraMount("base_link", T_base_camera).doubt(T_base_camera, "camera")) == bool(says)
    assert bool(CameraMount("base_link").doubt(T_base_camera, "camera")) == bool(says)
    assert not CameraMount("", None).doubt(np.eye(4), "camera")  # the camera's own pose is published


def test_a_frame_id_of_a_body_is_doubted() -> None:
    """Many drivers send camera_link."""
    assert CameraMount("base_link").doubt(np.eye(4), "camera_link") == (
        "by TF the camera looks straight up: the frame_id of the images, camera_link, must be of the optical frame "
        "(x right, y down, z ahead)"
    )


def test_camera_pose_holds_for_odometry_of_another_frame_too() -> None:
    """TF's own word on the camera came first there: map -> odom was turned, and the pose was right."""
    T_base_camera = transform_from_xyzrpy((0.0, 0.0, 1.0, 0.0, 0.0, 0.0)) @ T_BODY_OPTICAL
    mount, bare = CameraMount("base_link", T_base_camera), CameraMount("base_link")
    for one in (mount, bare):
        one._tree.fix("base_footprint", "base_link", transform_from_xyzrpy((0.0, 0.0, 0.1, 0.0, 0.0, 0.0)))
        one._tree.fix("base_link", "camera_link", transform_from_xyzrpy((0.3, 0.0, 1.0, 0.0, 0.0, 0.0)))
    np.testing.assert_allclose(mount.camera_in("base_footprint", "camera_link", 0)[:3, 3], [0, 0, 1.1])
    np.testing.assert_allclose(mount.camera_in("base_footprint", "camera_link", 0)[:3, :3], T_BODY_OPTICAL[:3, :3])
    np.testing.assert_allclose(bare.camera_in("base_footprint", "camera_link", 0)[:3, 3], [0.3, 0, 1.1])
    assert mount.camera_in("imu", "camera_link", 0) is None


def test_a_mounting_that_another_robot_replaces_is_told() -> None:
    """Two robots on one /tf_static: the second one's camera silently took the place of the first one's."""
    mount = CameraMount("base_link")
    first, second = (tf("base_link", "camera", x) for x in (0.2, 3.0))
    assert not mount.store(first, fixed=True) and not mount.store(first, fixed=True)
    assert "base_link -> camera on /tf_static has changed" in mount.store(second, fixed=True)


def tf(parent: str, child: str, x: float) -> SimpleNamespace:
    transform = SimpleNamespace(
        translation=SimpleNamespace(x=x, y=0.0, z=0.0), rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    stamp = SimpleNamespace(sec=0, nanosec=0)
    header = SimpleNamespace(frame_id=parent, stamp=stamp)
    return SimpleNamespace(transforms=[SimpleNamespace(header=header, child_frame_id=child, transform=transform)])


def transforms(parent: str, child: str, x: float = 0.0, w: float = 1.0, stamp_s: int = 0) -> SimpleNamespace:
    """A tf2_msgs/TFMessage of one transform."""
    transform = SimpleNamespace(
        translation=SimpleNamespace(x=x, y=0.0, z=0.0), rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=w)
    )
    header = SimpleNamespace(frame_id=parent, stamp=SimpleNamespace(sec=stamp_s, nanosec=0))
    return SimpleNamespace(transforms=[SimpleNamespace(header=header, child_frame_id=child, transform=transform)])


@pytest.mark.parametrize(("x", "w"), [(0.0, 0.0), (0.0, 2.0), (0.0, float("nan")), (float("inf"), 1.0)])
def test_a_transform_that_is_not_used_is_told(x: float, w: float) -> None:
    """It is there for whoever echoes /tf_static, and the node asked to publish it."""
    mount = CameraMount("base_link")
    why = "the transform base_link -> camera on /tf_static is not used: it is not finite with a unit quaternion"
    assert mount.store(transforms("base_link", "camera", x, w), fixed=True) == why
    assert mount.camera_in_base("camera", 0) is None
    assert mount.missing("camera").startswith(f"no transform base_link -> camera in TF ({why}), so")
    assert mount.store(transforms("base_link", "camera"), fixed=True) == ""
    assert mount.camera_in_base("camera", 0) is not None and why not in mount.missing("other")


def test_a_transform_of_something_else_is_not_blamed() -> None:
    """A tag that is not seen has NaN: it is not why the camera's mounting is unknown."""
    mount = CameraMount("base_link")
    mount.store(transforms("head", "camera"), fixed=True)
    mount.store(transforms("map", "tag", float("nan")), fixed=False)
    assert "tag" not in mount.missing("camera")
    mount.store(transforms("base_link", "head", w=0.0), fixed=True)
    assert "the transform base_link -> head on /tf_static is not used" in mount.missing("camera")


def test_a_joint_of_other_times_is_told() -> None:
    """A joint that is published too seldom, or by another clock: that it is published was no help."""
    mount = CameraMount("base_link")
    mount.store(transforms("base_link", "head", stamp_s=10), fixed=False)
    mount.store(transforms("head", "camera"), fixed=True)
    assert mount.camera_in_base("camera", 10 * 10**9) is not None
    assert mount.camera_in_base("camera", 15 * 10**9) is None
    assert mount.missing("camera").startswith("TF has base_link -> camera, but not at the stamps of its images")
