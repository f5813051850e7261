"""Tests that the node keeps running and answering under hostile messages, parameters, calls, transitions and clocks."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from nav_msgs.msg import Odometry
from nav_msgs.srv import LoadMap
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.options import DriveOptions

ROOT = Path(__file__).resolve().parent.parent
BAG = ROOT / "demo" / "bags" / "overcast"
NAME = "/hostile/localizer"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_HARMLESS = (1, 2, 3, 4)  # configure, cleanup, activate, deactivate: shutdown would end the trial
_ENCODINGS = ("rgb8", "bgr8", "mono8", "mono16", "bayer_rggb8", "yuv422", "16UC1", "32FC1", "nv12", "", "rgb8\0", "Ü")
_FRAMES = ("camera_optical", "", "/camera_optical", "base_link", "nowhere", "ü" * 50, "a b", "odom")


@contextmanager
def running(parameters: dict[str, Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The node as a user starts it, in its own namespace."""
    command = [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args", "-r", "__ns:=/hostile"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Attacker:
    """Sends hostile messages and calls, with some normal ones in between."""

    def __init__(self, seed: int, folder: Path, mode: str) -> None:
        self.chance = random.Random(seed)
        self.sent: Counter[str] = Counter()
        self._folder = folder
        self._node = rclpy.create_node("attacker")
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._stranger = rclpy.create_node("stranger", context=self._context)
        frames = list(BagDrive(BAG, DriveOptions()))[:40]
        self._images = [frame.read() for frame in frames]
        self._jpegs = [_jpeg(image) for image in self._images]
        self._now_s = 1.7e9
        self._place = 0
        self.status: dict[str, str] = {}
        self.wanted: dict[str, Any] = {}  # the parameters of a working node
        self._publishers: dict[tuple[str, str], Any] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._take_status, 10)
        self._services = {
            "relocalize": (Trigger, lambda: Trigger.Request()),
            "save_map": (Trigger, lambda: Trigger.Request()),
            "load_map": (LoadMap, lambda: LoadMap.Request(map_url=self.chance.choice(self._urls()))),
            "get_state": (GetState, lambda: GetState.Request()),
            "get_available_transitions": (GetAvailableTransitions, lambda: GetAvailableTransitions.Request()),
            "change_state": (ChangeState, self._transition),
            "set_parameters": (SetParameters, self._parameters),
            "get_parameters": (GetParameters, lambda: GetParameters.Request(names=["map", "", "x" * 300])),
            "list_parameters": (ListParameters, lambda: ListParameters.Request(depth=self.chance.randint(0, 9))),
            "describe_parameters": (DescribeParameters, lambda: DescribeParameters.Request(names=["map", "nothing"])),
            **_query(self),
        }
        self._clients = {n: self._node.create_client(kind, f"{NAME}/{n}") for n, (kind, _) in self._services.items()}
        compressed = mode == "localize"
        self._image_topic, self._image_type = (
            ("/cam/compressed", CompressedImage) if compressed else ("/cam/raw", Image)
        )
        # Weights and actions.
        self._acts: list[tuple[int, Callable[[], None]]] = [
            (30, self._image),
            (20, self._odometry),
            (10, self._transform),
            (6, self._camera_info),
            (10, self._garbage),
            (10, self._call),
            (3, self._wrong_qos),
            (3, self._clock),
        ]

    def act(self) -> None:
        """Send one message or call, and process what comes back."""
        weights, acts = zip(*self._acts, strict=True)
        act = self.chance.choices(acts, weights)[0]
        self.sent[act.__name__.strip("_")] += 1
        act()
        rclpy.spin_once(self._node, timeout_sec=0.0)

    def close(self) -> None:
        """Destroy the nodes."""
        self._node.destroy_node()
        self._stranger.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self._node, timeout_sec=0.05)

    def recover(self, seconds: float = 90.0) -> bool:
        """Activate the node again and send valid images until one is answered. Returns whether one was."""
        end = time.monotonic() + seconds
        self._ask(SetParameters.Request(parameters=[_parameter("use_sim_time", False)]), "set_parameters")
        while time.monotonic() < end:
            state = self._ask(GetState.Request(), "get_state")
            label = state.current_state.label if state else ""
            steps = {"unconfigured": Transition.TRANSITION_CONFIGURE, "inactive": Transition.TRANSITION_ACTIVATE}
            if label in steps:
                if label == "unconfigured":
                    self.restore()
                request = ChangeState.Request(transition=Transition(id=steps[label]))
                self._ask(request, "change_state", 30.0)
            elif label == "active":
                before = int(self.status.get("images answered", "0"))
                for _ in range(10):
                    self._sane()
                    self.spin(0.1)
                self.spin(1.5)
                if int(self.status.get("images answered", "0")) > before:
                    return True
        return False

    def restore(self) -> None:
        """Restore the parameters of before the attack."""
        parameters = [_parameter(name, value) for name, value in self.wanted.items()]
        self._ask(SetParameters.Request(parameters=parameters), "set_parameters")

    def _ask(self, request: Any, service: str, seconds: float = 5.0) -> Any:
        client = self._clients[service]
        if not client.wait_for_service(timeout_sec=seconds):
            return None
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=seconds)
        return future.result() if future.done() else None

    def _take_status(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(NAME):
                self.status = {item.key: item.value for item in status.values} | {"message": status.message}

    def _publish(self, topic: str, message: Any, kind: type | None = None, qos: Any = 10) -> None:
        kind = kind or type(message)
        key = topic, kind.__name__
        if key not in self._publishers:
            self._publishers[key] = self._node.create_publisher(kind, topic, qos)
        self._publishers[key].publish(message)

    def _header(self) -> Header:
        """A header, usually with an advancing stamp, sometimes with any."""
        self._now_s += 0.1
        what = self.chance.random()
        if what < 0.02:
            self._now_s += self.chance.choice((-1e6, -30.0, -0.5, 100.0, 1e6))
        stamp = Time(sec=int(self._now_s) % 2**31, nanosec=int(self._now_s % 1 * 1e9))
        if 0.02 <= what < 0.06:
            stamp = self.chance.choice((Time(), Time(sec=-(2**31)), Time(sec=2**31 - 1, nanosec=2**32 - 1)))
        frame = "camera_optical" if what < 0.9 else self.chance.choice(_FRAMES)
        return Header(stamp=stamp, frame_id=frame)

    def _sane(self) -> None:
        """Send what a robot sends."""
        self._now_s = max(self._now_s, time.time()) + 0.1
        self._place = (self._place + 1) % len(self._images)
        header = Header(stamp=Time(sec=int(self._now_s), nanosec=0), frame_id="camera_optical")
        odometry = Odometry(header=Header(stamp=header.stamp, frame_id="odom"), child_frame_id="base_link")
        odometry.pose.pose.orientation.w = 1.0
        odometry.pose.pose.position.x = 3.0 * self._place
        self._publish("/odom", odometry)
        if self._image_type is Image:
            self._publish(self._image_topic, _raw(self._images[self._place], header))
        else:
            data = array("B", self._jpegs[self._place])
            self._publish(self._image_topic, CompressedImage(header=header, format="jpeg", data=data))

    def _image(self) -> None:
        self._place = (self._place + self.chance.randint(0, 1)) % len(self._images)
        header, what = self._header(), self.chance.random()
        if self._image_type is CompressedImage:
            data = bytearray(self._jpegs[self._place])
            if what < 0.2:
                del data[self.chance.randrange(len(data)) :]
            elif what < 0.4:
                for _ in range(self.chance.randint(1, 20)):
                    data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
            elif what < 0.5:
                data = bytearray(self.chance.randbytes(self.chance.randrange(5000)))
            kinds = ("jpeg", "png", "", "mono16; png compressed", "bayer_rggb8; jpeg compressed bgr8", "ü;;")
            kind = "jpeg" if what < 0.9 else self.chance.choice(kinds)
            message: Any = CompressedImage(header=header, format=kind, data=array("B", bytes(data)))
        else:
            message = _raw(self._images[self._place], header)
            if what < 0.3:
                message.encoding = self.chance.choice(_ENCODINGS)
            elif what < 0.5:
                sizes = (0, 1, 7, 240, 2**31, 2**32 - 1)
                message.width, message.height = self.chance.choice(sizes), self.chance.choice(sizes)
                message.step = self.chance.choice(sizes)
            elif what < 0.6:
                message.data = message.data[: self.chance.randrange(len(message.data))]
        self._publish(self._image_topic, message)

    def _number(self) -> float:
        wild = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, 0.0)
        return self.chance.choice(wild) if self.chance.random() < 0.1 else self.chance.gauss(0.0, 10.0)

    def _odometry(self) -> None:
        message = Odometry(header=self._header(), child_frame_id="base_link")
        message.header.frame_id = "odom" if self.chance.random() < 0.9 else self.chance.choice(_FRAMES)
        pose = message.pose.pose
        pose.orientation.w = 1.0
        pose.position.x = 3.0 * self._place
        if self.chance.random() < 0.3:
            pose.position.x, pose.position.y, pose.orientation.w = self._number(), self._number(), self._number()
            message.child_frame_id = self.chance.choice(_FRAMES)
        self._publish("/odom", message)

    def _transform(self) -> None:
        """Send cycles, orphans, frames that change parents, and numbers that are not finite."""
        names = ("base_link", "camera_link", "camera_optical", "odom", "map", "", "mast")
        stamped = TransformStamped(header=self._header(), child_frame_id=self.chance.choice(names))
        stamped.header.frame_id = self.chance.choice(names)
        stamped.transform.rotation.w = 1.0 if self.chance.random() < 0.7 else self._number()
        stamped.transform.translation.x = self._number()
        message = TFMessage(transforms=[stamped] * self.chance.choice((0, 1, 1, 3)))
        if self.chance.random() < 0.7:
            self._publish("/tf", message)
        else:
            self._publish("/tf_static", message, qos=_LATCHED)

    def _camera_info(self) -> None:
        model = self.chance.choice(("plumb_bob", "equidistant", "", "rational_polynomial", "ü"))
        sizes = (0, 1, 320, 2**32 - 1)
        message = CameraInfo(width=self.chance.choice(sizes), height=self.chance.choice(sizes), distortion_model=model)
        message.k = [self._number() for _ in range(9)]
        message.d = [self._number() for _ in range(self.chance.choice((0, 4, 5, 8, 100)))]
        message.binning_x = self.chance.choice((0, 1, 2**32 - 1))
        self._publish("/cam/camera_info", message, qos=_LATCHED)

    def _garbage(self) -> None:
        """Send bytes that are not a message of their type."""
        chosen: tuple[str, Any] = self.chance.choice(
            [
                (self._image_topic, self._image_type()),
                ("/odom", Odometry()),
                ("/tf", TFMessage(transforms=[TransformStamped()])),
                ("/cam/camera_info", CameraInfo(d=[0.0] * 5)),
            ]
        )
        topic, message = chosen
        data = bytearray(serialize_message(message))
        if self.chance.random() < 0.3:
            data[4:] = self.chance.randbytes(self.chance.randrange(400))
        else:
            for _ in range(self.chance.randint(1, 8)):
                data[self.chance.randrange(4, len(data))] = self.chance.randrange(256)
        if self.chance.random() < 0.5:
            del data[self.chance.randrange(4, len(data) + 1) :]
        self._publish(topic, bytes(data), type(message), _LATCHED if "info" in topic else 10)

    def _call(self) -> None:
        name = self.chance.choice(list(self._services))
        client = self._clients[name]
        if client.service_is_ready():
            client.call_async(self._services[name][1]())

    def _transition(self) -> ChangeState.Request:
        label = "" if self.chance.random() < 0.9 else self.chance.choice(("configure", "activate", "ü", "x" * 500))
        number = self.chance.choice((*_HARMLESS, 0, 61, 99, 255))
        return ChangeState.Request(transition=Transition(id=number, label=label))

    def _urls(self) -> list[str]:
        return [
            "",
            "/",
            str(self._folder),
            "http://[x",
            "package://vpr_ros",
            "~nobody/x",
            "\0",
            "x" * 5000,
            "/dev/null",
        ]

    def _parameters(self) -> SetParameters.Request:
        names = ("map", "image", "filter.speed", "search.index", "loops.inliers", "backend", "adapters")
        names += ("camera_pose", "threads", "use_sim_time", "nothing", "", "qos_overrides./x.depth", "base_frame")
        values = (1, -5, 1e300, math.nan, "ü", "", True, [1.0, 2.0], ["a"], [], 2**62)
        return SetParameters.Request(
            parameters=[
                _parameter(self.chance.choice(names), self.chance.choice(values))
                for _ in range(self.chance.randint(0, 3))
            ]
        )

    def _wrong_qos(self) -> None:
        """Create publishers with incompatible QoS, and of another type on the same topics."""
        topic, kind = self.chance.choice([(self._image_topic, self._image_type), ("/odom", Odometry)])
        node = self._node
        if self.chance.random() < 0.5:
            node, kind = self._stranger, String
        qos = QoSProfile(
            depth=self.chance.choice((1, 1000)),
            reliability=self.chance.choice((ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)),
            durability=self.chance.choice((DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)),
        )
        publisher = node.create_publisher(kind, topic, qos)
        publisher.publish(kind())
        node.destroy_publisher(publisher)

    def _clock(self) -> None:
        stamp = Time(sec=self.chance.choice((0, 1, 10**9, 2**31 - 1)), nanosec=0)
        self._publish("/clock", Clock(clock=stamp))


def _raw(image: np.ndarray, header: Header) -> Image:
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array("B", image.tobytes())
    return message


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    return bytes(cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())


def _parameter(name: str, value: Any) -> Parameter:
    """A parameter message with any value."""
    kinds = {bool: (1, "bool_value"), int: (2, "integer_value"), float: (3, "double_value"), str: (4, "string_value")}
    if isinstance(value, list):
        kind, field = (8, "double_array_value") if value and isinstance(value[0], float) else (9, "string_array_value")
    else:
        kind, field = kinds[type(value)]
    return Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))


def _query(attacker: Attacker) -> dict[str, Any]:
    """~/query, if its messages are built."""
    try:
        from vpr_msgs.srv import Query
    except ImportError:
        return {}
    header = Header(frame_id="camera_optical")
    return {"query": (Query, lambda: Query.Request(image=Image(header=header, width=4, height=4, encoding="rgb8")))}


def attack(mode: str, messages: int, seed: int, town: Path) -> dict[str, Any]:
    """Send count messages to one node in a mode. Returns figures, with ``faults`` among them."""
    with tempfile.TemporaryDirectory() as folder:
        log, session = Path(folder, "node.log"), Path(folder, "day.vprmap")
        wanted: dict[str, Any] = {"odom": "/odom", "threads": 1, "backend": "onnx"}
        if mode == "localize":
            wanted |= {"map": str(town), "image": "/cam/compressed", "publish_tf": True}
        else:
            wanted |= {"mode": "map", "session": str(session), "image": "/cam/raw"}
        wanted["camera_pose"] = [0.0, 0.0, 1.6, 0.0, 0.0, 0.0]
        with running({n: str(v).lower() if v is True else v for n, v in wanted.items()}, log) as node:
            attacker = Attacker(seed, Path(folder), mode)
            attacker.wanted = {**wanted, "search.index": "Flat", "filter.speed": 5.0, "adapters": []}
            attacker.wanted |= {"loops.inliers": 12, "base_frame": "base_link"}
            if mode == "map":
                attacker.wanted["map"] = ""
            try:
                alive = attacker.recover(60.0)
                for number in range(messages):
                    attacker.act()
                    time.sleep(0.01)
                    if number % 200 == 199:
                        alive &= node.poll() is None and attacker.recover()
                        print(
                            f"  {mode}: {number + 1} of {messages}, {attacker.status.get('message', '')[:70]}",
                            flush=True,
                        )
                    if node.poll() is not None:
                        break
                attacker.spin(1.0)
                recovered = node.poll() is None and attacker.recover()
            finally:
                attacker.close()
            stopped = node.poll() is not None
            status, text = attacker.status, log.read_text(errors="replace")
        if session.exists():
            from vpr_ros.maps.place_map import PlaceMap

            with PlaceMap.open(session) as place_map:
                place_map.check_intact()
        if stopped or "Traceback" in text:
            kept = Path(tempfile.gettempdir(), f"hostile-{mode}.log")
            kept.write_text(text)
            print(f"  the node's log is kept in {kept}")
        return {
            "mode": mode,
            "messages": sum(attacker.sent.values()),
            "by kind": dict(attacker.sent),
            "stops": int(stopped),
            "internal errors": int(status.get("internal errors", "0")),
            "tracebacks": text.count("Traceback"),
            "answers at the end": bool(alive and recovered),
            "images answered": int(status.get("images answered", "0")),
            "images dropped": int(status.get("dropped (bad image)", "0")),
        }


def run(messages: int, seed: int, town: Path) -> tuple[dict[str, Any], list[str]]:
    """Attack both modes, with half of the messages each. Returns figures, and faults."""
    rclpy.init()
    try:
        found = [attack(mode, messages // 2, seed, town) for mode in ("localize", "map")]
    finally:
        rclpy.try_shutdown()
    wrong = []
    for result in found:
        for name in ("stops", "internal errors", "tracebacks"):
            if result[name]:
                wrong.append(f"{result['mode']}: {result[name]} {name}")
        if not result["answers at the end"]:
            wrong.append(f"{result['mode']}: no answer at the end")
    return {"messages": found}, wrong
