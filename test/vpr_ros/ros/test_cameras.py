"""A robot with several cameras: one node, one belief, and each camera's faults named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vpr_ros.base import geometry, messages
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.image_order import LATE
from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.open import open_drive, open_drives
from vpr_ros.drives.options import DriveOptions
from vpr_ros.localize.localizer import Localizer
from vpr_ros.ros.health import condition
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.params import NodeParams, node_params
from vpr_ros.ros.replay import BagReplay
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.wiring import WiredPipeline

BACK = geometry.transform(geometry.matrix_from_rpy(0, 0, np.pi), np.zeros(3))
MOUNTS = {
    "front": geometry.transform(np.eye(3), [0.5, 0, 1.5]) @ geometry.T_BODY_OPTICAL,
    "rear": geometry.transform(np.eye(3), [-0.5, 0, 1.5]) @ BACK @ geometry.T_BODY_OPTICAL,
}


def mountings(cameras: tuple[str, ...] = ("front", "rear")) -> Any:
    """tf2_msgs/TFMessage of a robot's cameras."""
    from tf2_msgs.msg import TFMessage

    stamp = convert.time_message(0)
    return TFMessage(
        transforms=[convert.transform_message(MOUNTS[name], "base_link", f"{name}_optical", stamp) for name in cameras]
    )


def test_a_rear_camera_finds_the_street_the_other_way(street: Any, robot: Any, start_node: Any) -> None:
    """The map looks east and the robot drives west. Its front camera sees nothing known; the rear one does.

    The front camera then goes silent, which is named, and the poses go on.
    """
    needs.module_with("tf2_msgs.msg", of="TFMessage")
    robot.listen(PoseWithCovarianceStamped, "/localizer/pose")
    start_node(map=street.map, more_images="[/rear/image]", image_timeout=3.0)
    robot.publish("/tf_static", mountings(), QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def see(stamp_s: float, front: bool = True) -> None:
        if front:
            robot.publish("/image", robot.image(street.draw(100), stamp_s, "front_optical"))
        robot.publish("/rear/image", robot.image(street.draw(5), stamp_s + 0.01, "rear_optical"))
        robot.spin(0.2)

    expected = street.pose(5) @ geometry.inverse(MOUNTS["rear"])
    for k in range(40):
        see(10.0 + 0.2 * k)
        poses = robot.heard["/localizer/pose"]
        if len(poses) > 3:
            break
    base = messages.matrix_from_pose(poses[-1].pose.pose)
    np.testing.assert_allclose(base[:3, 3], expected[:3, 3], atol=1.0)
    assert abs(geometry.rpy_from_matrix(base[:3, :3])[2]) == pytest.approx(np.pi, abs=0.2)

    count = len(poses)
    for k in range(20):
        see(30.0 + 0.2 * k, front=False)
    robot.wait_for_diagnosis("/image", level=1)
    assert len(poses) > count


def feed(
    pipeline: WiredPipeline, robot: Any, image_rgb: np.ndarray, stamp_s: float, camera: str, clock_s: float = 0.0
) -> Any:
    """One image through a pipeline, as from its topic. clock_s: the node's time; 0: the image's."""
    topic = {"front": "image", "rear": "/rear/image"}[camera]
    message = robot.image(image_rgb, stamp_s, f"{camera}_optical")
    arrival = pipeline.arrival(serialize_message(message), topic)
    return pipeline._pipeline.process(replace(arrival, clock_ns=round((clock_s or stamp_s) * 1e9)))


@pytest.fixture
def front_and_rear(street: Any, robot: Any) -> Iterator[tuple[WiredPipeline, Health]]:
    """The pipeline of a robot with two cameras, whose mountings are not known yet, and what it counts."""
    node, health = ResponsiveNode("localizer"), Health()
    params = NodeParams(map=str(street.map), more_images=("/rear/image",), threads=1)
    pipeline = WiredPipeline(node, params, health)
    yield pipeline, health
    pipeline.close()
    node.destroy_node()


def test_each_camera_has_its_own_order_and_faults(
    street: Any, robot: Any, front_and_rear: tuple[WiredPipeline, Health]
) -> None:
    """Their images overtake each other; a camera whose mounting is unknown is left out, counted and named."""
    pipeline, health = front_and_rear
    transforms = pipeline._pipeline._mount
    transforms.store(mountings(("front",)), fixed=True)
    for k in range(4):
        feed(pipeline, robot, street.draw(3), 10.0 + 0.2 * k, "front")
        feed(pipeline, robot, street.draw(3), 9.9 + 0.2 * k, "rear")
    assert health.counts["images answered"] == 4
    assert health.counts["images left out: mounting unknown"] == 4
    assert "rear_optical" in pipeline._pipeline._cameras["/rear/image"].mount._sentence
    assert not pipeline._pipeline._cameras["image"].mount._sentence
    transforms.store(mountings(), fixed=True)
    outcome = feed(pipeline, robot, street.draw(3), 11.0, "rear")
    assert outcome.reply is not None and health.counts["images late (overtaken by a newer one)"] == 0


def test_faults_of_one_camera_do_not_hide_behind_the_other(
    street: Any, robot: Any, front_and_rear: tuple[WiredPipeline, Health], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rear camera is covered, then its clock an hour off, then its data damaged. Each flickered between good images
    of the front camera, and of another clock, they took the belief to where the robot had been.
    """
    monkeypatch.setattr(condition, "_PATIENCE_S", 0.0)
    pipeline, health = front_and_rear
    pipeline._pipeline._mount.store(mountings(), fixed=True)
    for k in range(3):
        feed(pipeline, robot, np.zeros((240, 320, 3), np.uint8), 10.0 + 0.2 * k, "rear")
        feed(pipeline, robot, street.draw(3), 10.0 + 0.2 * k, "front")
    assert pipeline.problem.startswith("/rear/image: the image shows nothing")
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(pipeline.mode, "leave_out", lambda camera, why: told.append((camera, why)))
    belief = pipeline.mode.localizer.filter.belief  # type: ignore[attr-defined]
    for k in range(3):  # it steps back, and resets nothing
        outcome = feed(pipeline, robot, street.draw(8), 1.0 + 0.2 * k, "rear", clock_s=3611.0 + 0.2 * k)
        wanted = "stamped 60 minutes before the clock" if k else LATE
        assert wanted in outcome.problem and outcome.reply is None
        assert pipeline.mode.localizer.filter.belief is belief  # type: ignore[attr-defined]
    assert pipeline.clock_problem.startswith("/rear/image: images are stamped 60 minutes before the clock")
    assert health.counts["images left out: of another clock"] == 2 and not health.counts["clock jumps"]
    assert len(told) == 2 and all(camera == "/rear/image" and "60 minutes" in why for camera, why in told)
    assert feed(pipeline, robot, street.draw(3), 11.0, "front").reply is not None
    for k in range(3):
        feed(pipeline, robot, np.zeros((0, 0, 3), np.uint8), 12.0 + k, "rear")
        feed(pipeline, robot, street.draw(3), 12.0 + k, "front")
    assert health.bad_in_a_row == ("/rear/image", 3, "the image is empty (0 x 0 pixels)")


def test_cameras_of_another_clock_alone_are_used(
    street: Any, robot: Any, front_and_rear: tuple[WiredPipeline, Health]
) -> None:
    """A bag without sim time: with one camera whose data never decodes, the other one was left out, too."""
    pipeline, _ = front_and_rear
    pipeline._pipeline._mount.store(mountings(), fixed=True)
    for k in range(3):
        feed(pipeline, robot, np.zeros((0, 0, 3), np.uint8), 10.0 + k, "front", clock_s=5000.0 + k)
        assert feed(pipeline, robot, street.draw(3), 10.0 + k, "rear", clock_s=5000.0 + k).reply is not None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base_frame": ""}, "more_images needs base_frame"),
        ({"camera_pose": [0, 0, 0, 0, 0, 0]}, "camera_pose is of one camera"),
        ({"intrinsics": [100, 100, 50, 50]}, "intrinsics is of one camera"),
        ({"camera_info": "/front/camera_info"}, "camera_info is of one camera"),
        ({"more_images": ["image"]}, "more_images repeats a topic"),
        ({"more_images": [""]}, "more_images repeats a topic, or has an empty one"),
        ({"mode": "map", "map": "", "session": "s.vprmap", "odom": "/odom"}, "more_images needs mode:=localize"),
    ],
)
def test_what_belongs_to_one_camera_is_refused(given: dict[str, Any], words: str) -> None:
    """A mounting that is given for one of two cameras would put the other in the wrong place."""
    with pytest.raises(ConfigError, match=words):
        node_params({"map": "m.vprmap", "more_images": ["/rear/image"], **given})


@pytest.fixture
def bag(tmp_path: Path, street: Any) -> Path:
    """A bag of a robot that drives the street westwards: front sees nothing known, rear the street."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    path = tmp_path / "back"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:

        def connect(topic: str, kind: str) -> Any:
            return writer.add_connection(topic, kind, typestore=store)

        images = {name: connect(f"/{name}/image", "sensor_msgs/msg/CompressedImage") for name in MOUNTS}
        truth = connect("/truth", "geometry_msgs/msg/PoseStamped")
        fixed = connect("/tf_static", "tf2_msgs/msg/TFMessage")

        def header(stamp_ns: int, frame: str) -> Any:
            stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
            return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)

        def write(connection: Any, stamp_ns: int, message: Any) -> None:
            writer.write(connection, stamp_ns, store.serialize_cdr(message, connection.msgtype))

        def fields(T: np.ndarray) -> tuple[Any, Any]:
            quat = types["geometry_msgs/msg/Quaternion"](*geometry.quat_xyzw_from_matrix(T[:3, :3]).tolist())
            return T[:3, 3].tolist(), quat

        transforms = []
        for name, T in MOUNTS.items():
            xyz, quat = fields(T)
            transform = types["geometry_msgs/msg/Transform"](types["geometry_msgs/msg/Vector3"](*xyz), quat)
            transforms.append(
                types["geometry_msgs/msg/TransformStamped"](header(0, "base_link"), f"{name}_optical", transform)
            )
        write(fixed, 10**9, types["tf2_msgs/msg/TFMessage"](transforms))
        for k, place in enumerate(range(9, 0, -1)):
            # The rear camera first: it measures the way, and a step is 40 m here.
            for name, number, late_ns in (("rear", place, 0), ("front", 100 + place, 10_000_000)):
                stamp_ns = (10 + 4 * k) * 10**9 + late_ns
                xyz, quat = fields(street.pose(place) @ geometry.inverse(MOUNTS["rear"]))
                pose = types["geometry_msgs/msg/Pose"](types["geometry_msgs/msg/Point"](*xyz), quat)
                write(truth, stamp_ns, types["geometry_msgs/msg/PoseStamped"](header(stamp_ns, "map"), pose))
                data = np.frombuffer(cv2.imencode(".jpg", street.draw(number)[..., ::-1])[1].tobytes(), np.uint8)
                image = types["sensor_msgs/msg/CompressedImage"](header(stamp_ns, f"{name}_optical"), "jpeg", data)
                write(images[name], stamp_ns, image)
    return path


@pytest.mark.parametrize("pace", [0.0, 8.0])  # at a pace, a busy machine leaves out images that it has no time for
def test_replay_uses_all_cameras_and_judges_one(street: Any, bag: Path, pace: float) -> None:
    """The front camera alone is off the map; with the rear one its images have poses, and only they are judged."""

    def found(**params: Any) -> list[bool]:
        options = DriveOptions(image_topic="/front/image", world="street")
        with Localizer.open(street.map, backend="onnx", threads=1) as localizer:
            replay = BagReplay(localizer, BagDrive(bag, options), NodeParams(**params), pace)
            answers = list(replay)
        assert len(answers) == 9
        right = []
        for frame, _, estimate in answers:
            best = None if estimate is None else estimate.best
            right.append(best is not None and np.linalg.norm((best.T_map_camera - frame.T_map_camera)[:2, 3]) < 5)
        return right

    assert sum(found()) == 0
    assert sum(found(more_images=("/rear/image",))) >= 5
    with pytest.raises(DriveError, match="has no topic /side/image of more_images: its images are on /front/image"):
        found(more_images=("/side/image",))


def test_several_cameras_of_a_bag_are_as_many_drives(bag: Path) -> None:
    """A map of what both cameras see: each is a drive of its own, with its own poses."""
    drives = open_drives([bag], {"image_topic": "/front/image, /rear/image"})
    assert [drive.name for drive in drives] == ["back/front/image", "back/rear/image"]
    front, rear = (next(iter(drive)).T_map_camera for drive in drives)
    assert front is not None and rear is not None
    np.testing.assert_allclose(
        geometry.inverse(front) @ rear, geometry.inverse(MOUNTS["front"]) @ MOUNTS["rear"], atol=1e-9
    )
    with pytest.raises(DriveError, match="name one camera"):
        open_drive(bag, {"image_topic": "/front/image,/rear/image"})
    with pytest.raises(DriveError, match="T_base_camera and camera_frame are of one camera"):
        open_drives([bag], {"image_topic": "/front/image,/rear/image", "T_base_camera": [0, 0, 0, 0, 0, 0]})
