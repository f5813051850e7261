"""A robot for the node: a map of drawn places, the node as a process, and a ROS node that talks to it over DDS."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest

from vpr_ros.base import geometry
from vpr_ros.base.errors import ModelError
from vpr_ros.inference.describer import Describer
from vpr_ros.inference.models import DEFAULT_MODEL, find_model
from vpr_ros.inference.open import open_describer

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 20.0


class Street:
    """A drawn street: what its places look like, where they are, and maps of it. It runs east; cameras look east."""

    places = 10
    spacing_m = 40.0  # wider than a cluster of hypotheses: every place is a pose of its own

    def __init__(self, folder: Path, describer: Describer) -> None:
        self.describer = describer
        self.map = self.build_map(folder / "street.vprmap")

    def draw(self, place: int, height: int = 240, width: int = 320) -> np.ndarray:
        """(H, W, 3) uint8; no two places look alike."""
        import cv2

        coarse = np.random.default_rng(place).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)

    def jpeg(self, place: int) -> bytes:
        """A place as a camera's JPEG."""
        import cv2

        return cv2.imencode(".jpg", self.draw(place)[..., ::-1])[1].tobytes()

    def pose(self, place: int) -> np.ndarray:
        """T_map_camera (4, 4) of a place, 1.5 m up."""
        return geometry.transform(geometry.R_BODY_OPTICAL, np.array([self.spacing_m * place, 0.0, 1.5]))

    def build_map(self, path: Path, first_place: int = 0, places: int = places, fingerprint: str = "") -> Path:
        """A map of drawn places, numbered from first_place on."""
        from vpr_ros.base.image import preprocess, thumbnail
        from vpr_ros.maps.calibration import Calibration
        from vpr_ros.maps.place_map import MapModel, PlaceMap

        manifest = self.describer.manifest
        model = MapModel(manifest.name, fingerprint or manifest.fingerprint, manifest.dimension, manifest.preprocessing)
        calibration = Calibration.of_model(manifest.calibration, unlearnt=bool(manifest.vocabulary))
        with PlaceMap.create(path, model, world="street", calibration=calibration) as made:
            for place in range(first_place, first_place + places):
                image = preprocess(self.draw(place), manifest.preprocessing)
                descriptor = self.describer.describe(image[None]).descriptors[0]
                made.add("drawn", place * 10**9, self.pose(place), descriptor, thumbnail(self.draw(place)))
        return path


@pytest.fixture(scope="session")
def describer() -> Describer:
    try:
        return open_describer(find_model(DEFAULT_MODEL), backend="onnx", threads=1)
    except ModelError as error:
        pytest.skip(f"needs the shipped model: {error}")


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory, describer: Describer) -> Street:
    return Street(tmp_path_factory.mktemp("street"), describer)


class NodeProcess:
    """The localizer node as a user starts it. What it prints is kept in ``log``."""

    def __init__(self, log: Path, namespace: str = "", remap: str = "", **parameters: Any) -> None:
        command = [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args"]
        command += ["-r", f"__ns:={namespace}"] if namespace else []
        command += ["-r", remap] if remap else []
        # Reliable: an image sent before the node has found the camera is sent again, and no test waits for it in vain.
        for name, value in {"threads": 1, "reliability": "reliable", **parameters}.items():
            command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(command, env=processes.environment(), stdout=file, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """Everything printed so far."""
        return self._log.read_text()

    def stop(self) -> int:
        """End it as Ctrl-C does and return its exit status."""
        self.process.send_signal(2)
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """start_node(map=..., odom=...) -> NodeProcess; namespace=, remap= as well; all are stopped after the test."""
    started: list[NodeProcess] = []

    def start(**parameters: Any) -> NodeProcess:
        started.append(NodeProcess(tmp_path / f"node{len(started)}.log", **parameters))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.stop()


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """rclpy in a domain of this test run's own."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed (pip install '.[ros]')")
    os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 200 + 1)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init()
    yield
    rclpy.try_shutdown()


class Robot:
    """A ROS node with a camera, wheels and ears."""

    def __init__(self) -> None:
        import rclpy

        self.node = rclpy.create_node("robot")
        self.heard: dict[str, list[Any]] = {}
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        from diagnostic_msgs.msg import DiagnosticArray

        self.listen(DiagnosticArray, "/diagnostics")

    def listen(self, message_type: type, topic: str, qos: Any = 10) -> None:
        """Keep what comes on a topic, in ``heard``."""
        self.heard[topic] = []
        self.node.create_subscription(message_type, topic, self.heard[topic].append, qos)

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Spin until a condition holds; its value."""
        import rclpy

        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if value := condition():
                return value
            rclpy.spin_once(self.node, timeout_sec=0.05)
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}; last diagnostics: {self.diagnosis()}")

    def publish(self, topic: str, message: Any, qos: Any = 10) -> None:
        """Send on a topic, once somebody listens there."""
        if topic not in self._publishers:
            publisher = self._publishers[topic] = self.node.create_publisher(type(message), topic, qos)
            self.wait(publisher.get_subscription_count, f"a subscriber of {topic}")
            self.spin(1.0)  # the other side discovers us a little later, and best effort repeats nothing
        self._publishers[topic].publish(message)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        with contextlib.suppress(AssertionError):
            self.wait(lambda: time.monotonic() > end, "the end", seconds)

    def call(self, service_type: type, name: str, request: Any = None, again_s: float = TIMEOUT_S) -> Any:
        """Call a service and return its response.

        again_s: ask again where no answer came for so long, for questions that change nothing.
        """
        client, request = self.client(service_type, name), request or service_type.Request()
        future, asked = client.call_async(request), time.monotonic()

        def answered() -> bool:
            nonlocal future, asked
            if not future.done() and time.monotonic() - asked > again_s:
                future, asked = client.call_async(request), time.monotonic()
            return bool(future.done())

        self.wait(answered, f"answer of {name}")
        return future.result()

    def client(self, service_type: type, name: str) -> Any:
        """A client that its server has found too: one that has not answers into the void.

        A node hears of our clients in the order in which they were made. So one that answers a later client knows this.
        """
        from rcl_interfaces.srv import GetParameters

        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, name)
            self.wait(self._clients[name].service_is_ready, f"service {name}")
            if service_type is not GetParameters:
                probe = f"{name.rpartition('/')[0]}/get_parameters"
                self.forget(probe)  # an earlier client would prove nothing
                self.call(GetParameters, probe, again_s=1.0)
        return self._clients[name]

    def forget(self, name: str) -> None:
        """Drop the client of a service, as of a server that another one takes the place of."""
        if name in self._clients:
            self.node.destroy_client(self._clients.pop(name))

    def state(self) -> str:
        """The localizer's lifecycle state."""
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "/localizer/get_state", again_s=3.0).current_state.label

    def change_state(self, transition: int) -> bool:
        """Ask for a lifecycle transition of the localizer; whether it went through."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "/localizer/change_state", request).success)

    def set_parameters(self, **values: Any) -> bool:
        """Set parameters of the localizer; whether it took them all."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        request = SetParameters.Request(parameters=parameters)
        results = self.call(SetParameters, "/localizer/set_parameters", request, again_s=3.0).results
        return all(result.successful for result in results)

    def wait_for_state(self, state: str) -> None:
        self.wait(lambda: self.state() == state, f"state {state}")

    def diagnosis(self) -> tuple[int, str, dict[str, str]]:
        """(level, message, values) of the localizer's last diagnostics."""
        if not self.heard["/diagnostics"]:
            return -1, "", {}
        status = self.heard["/diagnostics"][-1].status[0]
        return status.level[0], status.message, {item.key: item.value for item in status.values}

    def wait_for_diagnosis(self, words: str, level: int | None = None) -> str:
        """The first diagnostics message from now on that contains some words."""
        self.heard["/diagnostics"].clear()

        def found() -> str:
            at, message, _ = self.diagnosis()
            return message if words in message and level in (None, at) else ""

        return self.wait(found, f"diagnostics saying '{words}'")

    def wait_for_count(self, key: str, count: int) -> None:
        self.wait(lambda: int(self.diagnosis()[2].get(key, "0")) >= count, f"diagnostics with '{key}' at {count}")

    def image(self, image_rgb: np.ndarray, stamp_s: float, frame_id: str = "camera_optical") -> Any:
        """sensor_msgs/Image, rgb8."""
        from sensor_msgs.msg import Image

        height, width, _ = image_rgb.shape
        message = Image(header=_header(stamp_s, frame_id), height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = array("B", image_rgb.tobytes())
        return message

    def compressed(self, data: bytes, stamp_s: float, frame_id: str = "camera_optical") -> Any:
        """sensor_msgs/CompressedImage."""
        from sensor_msgs.msg import CompressedImage

        return CompressedImage(header=_header(stamp_s, frame_id), format="jpeg", data=array("B", data))

    def odometry(self, x: float, stamp_s: float) -> Any:
        """nav_msgs/Odometry of base_link, x metres along."""
        return self.odometry_at(geometry.transform(np.eye(3), np.array([x, 0.0, 0.0])), stamp_s)

    def odometry_at(self, T_odom_base: np.ndarray, stamp_s: float) -> Any:
        """nav_msgs/Odometry of base_link."""
        from nav_msgs.msg import Odometry

        from vpr_ros.ros.outputs.convert import pose_message

        message = Odometry(header=_header(stamp_s, "odom"), child_frame_id="base_link")
        message.pose.pose = pose_message(T_odom_base)
        return message


def _header(stamp_s: float, frame_id: str) -> Any:
    from std_msgs.msg import Header

    from vpr_ros.ros.outputs.convert import time_message

    return Header(stamp=time_message(round(stamp_s * 1e9)), frame_id=frame_id)


@pytest.fixture
def robot(ros: None) -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.node.destroy_node()
