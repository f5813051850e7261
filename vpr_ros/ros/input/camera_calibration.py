"""The camera's calibration, from the parameter intrinsics or from CameraInfo. It is never guessed."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.camera_messages import intrinsics_of, is_rectified
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.messages import camera_info_topic
from vpr_ros.ros.input.topics import resolved
from vpr_ros.ros.params import NodeParams, pinhole


class CameraCalibration:
    """Listens to CameraInfo until one fits the images. Drivers repeat the same calibration with each image."""

    def __init__(self, node: Node, params: NodeParams, wanted: bool = True, image: str = "") -> None:
        """wanted: whether to listen from the start. image: topic of the images; empty: the parameter's.

        Raises ConfigError if the parameter intrinsics is invalid.
        """
        self._node = node
        self._given = params.intrinsics
        self._intrinsics: Intrinsics | None = None  # the latest one
        self._size: tuple[int, int] | None = None  # of the latest image
        self._of_size: dict[tuple[int, int], Intrinsics] = {}  # what was taken for images of a size
        if self._given is not None:
            pinhole(self._given, 1, 1)
        self._refused = ""
        self._misfit = ""
        self._fits = False
        self._outcome = "loop closures stay unverified" if params.loops.unverified else "no loops are closed"
        if params.mode == "localize":
            self._outcome = "poses are not measured"
        self._subscriptions: list[Subscription] = []
        image_topic = resolved(node, image or params.image)
        topic = camera_info_topic(image_topic) if params.camera_info == "auto" else params.camera_info
        self._topic = resolved(node, topic) if topic else ""
        self._rectified = is_rectified(image_topic)
        self.on_timer(wanted)

    @property
    def problem(self) -> str:
        """Why the calibration is missing, as one sentence; empty if it is known."""
        if self._misfit or self._refused:
            return f"{self._refused or self._misfit}; {self._outcome}"  # the latest CameraInfo first
        if self._given is not None or self._intrinsics is not None or self._fits:
            return ""
        if not self._topic:
            return f"the camera is not calibrated, so {self._outcome}; set camera_info or intrinsics"
        return f"no CameraInfo on {self._topic} yet, so {self._outcome}; publish it, or set intrinsics"

    def of_image(self, width: int, height: int) -> Intrinsics | None:
        """Intrinsics for images of this size in pixels; None if the calibration is missing or does not fit."""
        if self._given is not None:
            return pinhole(self._given, width, height)
        size = width, height
        camera = self._of_size.get(size) or self._newest(size)
        self._size = size
        if camera is None:
            self._fits = False
            return None
        try:
            camera.check_fits(width, height)
        except ConfigError as error:
            self._fits = False
            self._misfit = f"{self._topic}: {error}; set camera_info to the topic of this camera, or set intrinsics"
            return None
        self._of_size[size] = camera
        self._fits, self._misfit = True, ""
        return camera.resized(width, height)

    def _newest(self, size: tuple[int, int]) -> Intrinsics | None:
        """The latest calibration, if it can be of images of a size that came now.

        Another size may be another part of the sensor of the same shape: only a CameraInfo that says that size, or that
        comes after its first image, tells.
        """
        camera = self._intrinsics
        if camera is not None and self._size not in (None, size) and (camera.width, camera.height) != size:
            self._intrinsics = camera = None
        return camera

    def on_timer(self, wanted: bool = True) -> None:
        """Listen, or stop if the calibration is known or not wanted. Call in the executor's thread."""
        if self._fits or not wanted or self._given is not None or not self._topic:
            self.close()
        else:
            self._listen()

    def close(self) -> None:
        """Stop listening."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _listen(self) -> None:
        """Subscribe to drivers that repeat CameraInfo and to drivers that latch it: no single QoS receives both."""
        if not self._subscriptions:
            self._subscribe(QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        latched = [p for p in publishers if p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL]
        if latched and len(self._subscriptions) == 1:
            self._subscribe(QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def _subscribe(self, qos: QoSProfile) -> None:
        self._subscriptions.append(self._node.create_subscription(CameraInfo, self._topic, self._store, qos))

    def _store(self, message: CameraInfo) -> None:
        try:
            found = self._intrinsics = intrinsics_of(message, self._rectified)
            if (found.width, found.height) in self._of_size:
                self._of_size[found.width, found.height] = found
            self._refused = ""
        except ConfigError as error:
            self._refused = f"{self._topic}: {error} (or set intrinsics)"
