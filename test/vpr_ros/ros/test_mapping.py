"""Mapping mode as a user runs it: images, odometry and a calibration in, a stored map and its loop closures out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import needs
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")

from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path as PathMessage
from rclpy.exceptions import InvalidTopicNameException
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from vpr_ros.base import geometry
from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import ConfigError, VprError
from vpr_ros.base.messages import matrix_from_pose, stamp_ns
from vpr_ros.base.records import LoopClosure, Observation
from vpr_ros.drives.bag import BagDrive, DriveOptions
from vpr_ros.loops.config import LoopCloserConfig
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.matching.extractors import open_extractor
from vpr_ros.ros.modes.map import MapMode
from vpr_ros.ros.modes.mode import ImageSample
from vpr_ros.ros.params import NodeParams

ROOT = Path(__file__).resolve().parents[3]
ERROR, WARN = 2, 1
T_BASE_CAMERA = geometry.transform(geometry.R_BODY_OPTICAL, np.array([0.0, 0.0, 1.6]))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_AGAIN_S = 0.02  # an image that is sent again is stamped less than this later
COUNT = 16  # images of the stretch, 2.5 m apart


class Stretch:
    """Forty metres of the demo's town, with what a robot that drives them publishes."""

    def __init__(self) -> None:
        frames = list(itertools.islice(BagDrive(ROOT / "demo" / "bags" / "overcast", DriveOptions()), COUNT))
        self.images = [frame.read() for frame in frames]
        assert frames[0].intrinsics is not None
        self.K = frames[0].intrinsics.K
        first = frames[0].T_map_camera
        assert first is not None
        T_base_map = T_BASE_CAMERA @ geometry.inverse(first)  # odometry begins where the robot does
        self.T_odom_base = [
            T_base_map @ frame.T_map_camera @ geometry.inverse(T_BASE_CAMERA)  # type: ignore[operator]
            for frame in frames
        ]

    def camera_info(self, calibrated: bool = True) -> CameraInfo:
        K = self.K if calibrated else np.zeros((3, 3))
        return CameraInfo(width=320, height=240, distortion_model="plumb_bob", d=[0.0] * 5, k=K.reshape(-1))

    def send(
        self,
        robot: Any,
        number: int,
        stamp_s: float,
        moved: float = 0.0,
        calibrated: bool = True,
        covered: bool = False,
    ) -> None:
        """One image as a camera and wheels send it; moved: metres that odometry's origin lies elsewhere."""
        robot.publish("/camera_info", self.camera_info(calibrated))
        T = geometry.transform(np.eye(3), np.array([moved, 0.0, 0.0])) @ self.T_odom_base[number]
        robot.publish("/odom", robot.odometry_at(T, stamp_s))
        robot.spin(0.02)  # odometry comes before its image, as on most robots
        image_rgb = np.zeros_like(self.images[number]) if covered else self.images[number]
        robot.publish("/image", robot.image(image_rgb, stamp_s))

    def back(self, robot: Any, start_s: float) -> None:
        """Back to the start, with the camera off: a jump would be a restart of odometry."""
        for step, number in enumerate(reversed(range(COUNT))):
            robot.publish("/odom", robot.odometry_at(self.T_odom_base[number], start_s + 0.3 * step))
            robot.spin(0.02)

    def drive(self, robot: Any, numbers: Any, start_s: float, **how: Any) -> None:
        """Images one after the other, each awaited: a keyframe's depth is published when it has been stored."""
        depths = robot.heard["/localizer/depth/image_rect"]
        for number in numbers:
            stamp_s = stamp_of(number, start_s)

            def stored(stamp_s: float = stamp_s) -> bool:
                return bool(depths) and seconds(depths[-1].header.stamp) == pytest.approx(stamp_s, abs=_AGAIN_S)

            for attempt in range(10):  # best effort may lose one, and the image may overtake its odometry
                self.send(robot, number, stamp_s + 0.1 * _AGAIN_S * attempt, **how)  # one stamp twice is a duplicate
                with contextlib.suppress(AssertionError):
                    robot.wait(stored, "stored", 1.0)
                    break
            else:
                raise AssertionError(f"image {number} was not stored; diagnostics: {robot.diagnosis()}")


def stamp_of(number: int, start_s: float) -> float:
    return start_s + 0.05 + 0.3 * number  # no whole second: such a stamp, sent again, would be a clock that stands


def seconds(stamp: Any) -> float:
    return stamp_ns(stamp) * 1e-9


@pytest.fixture(scope="session")
def stretch(describer: Any) -> Stretch:
    if not describer.manifest.depth:
        pytest.skip("needs a model with depth: without it closures have no scale")
    return Stretch()


@pytest.fixture
def start_mapping(start_node: Any, robot: Any, tmp_path: Path) -> Callable[..., Any]:
    """start_mapping(...) -> NodeProcess in mapping mode, as a robot with a camera ahead would start it."""
    robot.listen(Image, "/localizer/depth/image_rect")

    def start(**parameters: Any) -> Any:
        loops = {"loops.recent_distance": 5.0, "loops.recent_time": 1.0}
        camera = {"camera_pose": "[0.0, 0.0, 1.6, 0.0, 0.0, 0.0]", "odom": "/odom"}
        return start_node(**{"mode": "map", "session": tmp_path / "day.vprmap", **camera, **loops, **parameters})

    return start


def test_loops_survive_a_kill_and_the_map_a_second_session(
    stretch: Stretch, robot: Any, start_mapping: Any, tmp_path: Path
) -> None:
    """The whole of mapping mode: a robot drives a street twice, is killed, drives on, and a day later comes back."""
    messages = needs.module_with("vpr_msgs.msg", of="Match")
    robot.listen(messages.LoopClosure, "/localizer/loop_closures")
    robot.listen(PathMessage, "/localizer/keyframes", LATCHED)
    closures = robot.heard["/localizer/loop_closures"]
    copies = tmp_path / "copies"
    copies.mkdir()
    node = start_mapping(save_folder=copies)
    stretch.drive(robot, range(0, COUNT, 2), 10.0)
    assert not closures  # what lies ahead is new
    stretch.back(robot, 14.5)
    stretch.drive(robot, range(1, COUNT, 2), 20.0)
    robot.wait(lambda: len(closures) >= 3, "closures")
    for closure in closures:
        check_closure(closure, stretch, now_start_s=20.0, earlier_start_s=10.0)
        assert (closure.match_map, closure.match_drive, closure.drive) == ("", "day-1", "day-1")
    path = robot.wait(lambda: robot.heard["/localizer/keyframes"], "the path of keyframes")[-1]
    assert path.header.frame_id == "odom"
    np.testing.assert_allclose(matrix_from_pose(path.poses[1].pose), stretch.T_odom_base[2], atol=1e-9)
    robot.wait_for_diagnosis("keyframe")
    values = robot.diagnosis()[2]
    assert (values["drive"], values["keyframes"]) == ("day-1", str(COUNT))
    assert int(values["closures"]) == len(closures)

    saved = robot.call(Trigger, "/localizer/save_map")
    assert saved.success and Path(saved.message).parent == copies
    copies.rename(tmp_path / "moved")
    refused = robot.call(Trigger, "/localizer/save_map")
    assert not refused.success and str(copies) in refused.message
    (tmp_path / "moved").rename(copies)
    node.process.kill()  # -9, as a battery does
    node.process.wait()
    for file in (tmp_path / "day.vprmap", Path(saved.message)):
        with PlaceMap.open(file) as place_map:
            assert len(place_map) == COUNT
            assert place_map.features(COUNT) is not None  # of the last; the calibration may come after the first image

    node = start_mapping()
    wait_for_the_next(robot)
    closures.clear()
    stretch.drive(robot, range(0, 12, 2), 200.0)
    robot.wait(lambda: closures, "a closure on what was stored before the kill")
    assert {(closure.match_drive, closure.drive) for closure in closures} == {("day-1", "day-2")}
    robot.wait(lambda: robot.diagnosis()[2].get("keyframes") == str(COUNT + 6), "keyframes going on")
    assert robot.diagnosis()[2]["drive"] == "day-2"
    assert node.stop() == 0
    assert not list(tmp_path.glob("*-wal"))  # one file again

    start_mapping(session=tmp_path / "next.vprmap", earlier=f"[{saved.message}]")
    wait_for_the_next(robot)
    closures.clear()
    stretch.drive(robot, range(1, 13, 2), 300.0)
    robot.wait(lambda: closures, "a closure on an earlier map")
    assert {closure.match_map for closure in closures} == {Path(saved.message).name}
    for closure in closures:
        assert closure.verified and (closure.match_drive, closure.drive) == ("day-1", "next-1")


def wait_for_the_next(robot: Any) -> None:
    """Until a node that took another's place is active and hears us. The dead one's services seem to be there still."""
    robot.heard["/diagnostics"].clear()
    robot.wait(lambda: robot.diagnosis()[2].get("state") == "active", "the next node")
    robot.spin(1.0)


def check_closure(closure: Any, stretch: Stretch, now_start_s: float, earlier_start_s: float) -> None:
    """Stamps are those of two keyframes, and the transform is the one between them, in metres."""
    assert closure.verified and closure.inliers >= 15 and 0.5 < closure.probability <= 1
    assert closure.header.frame_id == "base_link"
    now = round((seconds(closure.header.stamp) - now_start_s) / 0.3)
    earlier = round((seconds(closure.match_stamp) - earlier_start_s) / 0.3)
    assert seconds(closure.header.stamp) == pytest.approx(stamp_of(now, now_start_s), abs=_AGAIN_S)
    assert now % 2 == 1 and earlier % 2 == 0 and earlier in range(COUNT)
    (measured,) = closure.t_match_query
    T_match_query = matrix_from_pose(measured.pose)
    assert T_match_query is not None
    truth = geometry.inverse(stretch.T_odom_base[earlier]) @ stretch.T_odom_base[now]
    off = geometry.inverse(truth) @ T_match_query
    assert np.linalg.norm(off[:3, 3]) < 1.0, f"{T_match_query[:3, 3]} instead of {truth[:3, 3]}"
    assert np.degrees(np.linalg.norm(geometry.vector_from_rotation(off[:3, :3]))) < 3.0
    assert np.linalg.eigvalsh(np.array(measured.covariance).reshape(6, 6)).min() > 0


def test_missing_odometry_is_reported_and_a_restart_begins_a_drive(
    stretch: Stretch, robot: Any, start_mapping: Any
) -> None:
    """No odometry, no calibration, odometry that restarts, a clock that jumps, a covered camera: each is reported, and
    none may spoil a map.
    """
    node = start_mapping()
    for number in range(60):  # until the node has found the camera and looked at three images
        robot.publish("/image", robot.image(stretch.images[0], stamp_s=0.1 * number))
        robot.spin(0.2)
        if int(robot.diagnosis()[2].get("images without odometry", 0)) >= 3:
            break
    robot.wait_for_diagnosis("it has no publisher; set odom to its topic; images are skipped", WARN)
    assert robot.diagnosis()[2]["keyframes"] == "0"

    stretch.drive(robot, range(2), 10.0, calibrated=False)
    robot.wait_for_diagnosis("/camera_info: the camera is not calibrated (K is all zeros)", WARN)
    stretch.drive(robot, range(2, 4), 10.0)
    robot.wait(lambda: not robot.node.get_subscriptions_info_by_topic("/camera_info"), "the calibration to be taken")
    robot.wait_for_diagnosis("keyframe 4")

    stretch.drive(robot, range(4, 6), 10.0, moved=-100.0)
    robot.wait(lambda: robot.diagnosis()[2].get("drive") == "day-2", "a new drive after odometry's restart")
    robot.wait_for_count("odometry restarts", 1)
    stretch.drive(robot, range(6, 8), 5.0, moved=-100.0)
    robot.wait(lambda: robot.diagnosis()[2].get("drive") == "day-3", "a new drive after the clock's jump")
    robot.wait(lambda: robot.diagnosis()[2].get("keyframes") == "8", "all eight keyframes")

    for again in range(12):  # the camera is covered while the robot drives on
        stretch.send(robot, 8, 30.0 + 0.3 * again, moved=-100.0, covered=True)
        robot.spin(0.25)
    robot.wait_for_diagnosis("the image shows nothing (black, white or covered), so it is no keyframe", WARN)
    assert robot.diagnosis()[2]["keyframes"] == "8"
    assert node.stop() == 0
    assert "Traceback" not in node.log


def test_lifecycle_of_a_mapping_node(stretch: Stretch, robot: Any, start_mapping: Any, tmp_path: Path) -> None:
    """What does not fit fails configure with a sentence; a session that was let go of is taken up again."""
    session = str(tmp_path / "day.vprmap")
    node = start_mapping(autostart=False, odom="''", earlier=session, adapters="hydrant")
    for wrong, words in (
        ({}, "unknown adapter 'hydrant'; did you mean 'hydra'?"),
        ({"adapters": ""}, "mode map needs odometry; set odom:=TOPIC"),
        ({"odom": "/odom"}, "is the session's own map"),
        ({"earlier": str(tmp_path / "nowhere.vprmap")}, "nowhere.vprmap"),
        ({"earlier": "", "map": "town.vprmap"}, "map needs mode:=localize, but mode is map"),
        ({"map": "", "intrinsics": [246.4, 246.4, 159.5, 119.5], "session": ""}, "set session:=FILE.vprmap"),
        ({"session": str(tmp_path / "no" / "day.vprmap")}, "the folder"),
    ):
        assert robot.set_parameters(**wrong)
        assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert words in node.log
    assert not robot.set_parameters(intrinsics=[-1.0, 100.0, 50.0, 50.0])  # focal lengths are above 0
    assert robot.set_parameters(session=session)
    for _ in range(2):
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert robot.change_state(Transition.TRANSITION_ACTIVATE)
        assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.node.create_subscription(CameraInfo, "/camera_info", lambda _: None, 10)  # somebody else's
    stretch.drive(robot, range(3), 10.0)
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    assert robot.change_state(Transition.TRANSITION_CLEANUP)
    with PlaceMap.open(Path(session)) as place_map:
        assert len(place_map) == 3 and place_map.features(1) is not None
    assert node.stop() == 0
    assert "Traceback" not in node.log


@pytest.fixture
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("localizer")
    yield node
    node.destroy_node()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"adapters": ("hydrant",)}, "did you mean 'hydra'"),
        ({"adapters": ("swarm_slam",)}, "/r0, /r1"),
        ({"loops": LoopCloserConfig(features="superpoint")}, "superpoint"),
        ({"loops": LoopCloserConfig(features="nowhere.onnx")}, "nowhere.onnx"),
        ({"loops": LoopCloserConfig(features="sift"), "earlier": ("EARLIER",)}, "local features of kind orb"),
        ({"intrinsics": (0.0, 100.0, 50.0, 50.0)}, "focal lengths above 0"),
        ({"camera_info": "my topic!"}, "topic name"),
        ({"save_folder": "/no/such/folder"}, "save_folder: /no/such/folder is no folder that can be written"),
    ],
    ids=["adapter", "namespace", "features", "features' file", "earlier map's features", "lens", "topic", "copies"],
)
def test_a_configure_that_fails_leaves_no_session(
    wrong: dict[str, Any], words: str, describer: Any, node: LifecycleNode, tmp_path: Path
) -> None:
    """An empty map left behind would be taken for a day's work, and goes on under the wrong settings."""
    if wrong.get("adapters") == ("swarm_slam",):
        needs.module_with("cslam_common_interfaces.msg", of="KeyframeOdom")
    if "earlier" in wrong:
        wrong = {**wrong, "earlier": (str(build_with_orb(tmp_path / "orb.vprmap", describer)),)}
    before, session = set(tmp_path.iterdir()), tmp_path / "day.vprmap"
    with pytest.raises((VprError, InvalidTopicNameException), match=words):
        MapMode.open(node, NodeParams(mode="map", session=str(session), **wrong), None)  # type: ignore[arg-type]
    assert {path for path in tmp_path.iterdir() if path.suffix != ".faiss"} == before


def test_a_closure_has_the_mounting_of_each_of_its_keyframes(node: LifecycleNode, tmp_path: Path) -> None:
    """A camera on a head that turns: with the mounting of now for both, edges were turned by the head's angle."""
    mapping = MapMode.open(node, NodeParams(mode="map", session=str(tmp_path / "day.vprmap")), None)  # type: ignore[arg-type]
    told: list[Any] = []
    mapping._adapters[:] = [SimpleNamespace(keyframe=lambda _: None, closed=told.append, close=lambda: None)]
    closure = LoopClosure(2 * 10**9, 2, 10**9, 1, "day-1", "", np.eye(4), 0.9, 0.9)
    turned = [T_BASE_CAMERA @ geometry.transform(geometry.matrix_from_rpy(0, yaw, 0), np.zeros(3)) for yaw in (0, 1, 2)]
    for number, (T_base_camera, closures) in enumerate(zip(turned, ((), (), (closure,)), strict=True), 1):
        sample = ImageSample(
            0, number * 10**9, "camera", np.zeros((4, 4, 3), np.uint8), T_base_camera, np.eye(4), "odom"
        )
        mapping._publish(Observation(sample.stamp_ns, number, closures, descriptor=np.zeros(8, np.float32)), sample)
    mapping.close()
    np.testing.assert_allclose(told[0].T_match_base, geometry.inverse(turned[0]))
    np.testing.assert_allclose(told[0].T_camera_base, geometry.inverse(turned[1]))


def test_a_configure_that_fails_keeps_what_was_there(describer: Any, node: LifecycleNode, tmp_path: Path) -> None:
    """Also a map that has no place yet: it may be somebody's."""
    session = tmp_path / "day.vprmap"
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
    PlaceMap.create(session, model, "odometry of day", is_odometry=True).close()
    params = NodeParams(mode="map", session=str(session), loops=LoopCloserConfig(features="superpoint"))
    with pytest.raises(ConfigError, match="superpoint"):
        MapMode.open(node, params, None)  # type: ignore[arg-type]
    assert session.exists()


def build_with_orb(path: Path, describer: Any) -> Path:
    """A map of one place, with local features that nobody chose."""
    manifest = describer.manifest
    model = MapModel(manifest.name, manifest.fingerprint, manifest.dimension, manifest.preprocessing)
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    features = open_extractor("orb", 50).extract(image, None, Intrinsics.pinhole(160, 120, 130.0))
    with PlaceMap.create(path, model, "street") as place_map:
        descriptor = np.eye(manifest.dimension, dtype=np.float32)[0]
        place_map.add("drawn", 1, np.eye(4), descriptor, None, features.to_bytes())
    return path
