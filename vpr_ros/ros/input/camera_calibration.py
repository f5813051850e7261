"""What is known of the camera's lens: a parameter's word, or the CameraInfo beside the images. Never a guess."""

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

_ASPECT = 0.02  # by which an image's shape may differ from the calibration's


class CameraCalibration:
    """Listens until a calibration has come that fits the images, then no more: CameraInfo repeats itself with each."""

    def __init__(self, node: Node, params: NodeParams, wanted: bool = True) -> None:
        """wanted: whether to listen from the start. Raises ConfigError if the parameter intrinsics is no camera's."""
        self._node = node
        self._given = params.intrinsics
        self._intrinsics: Intrinsics | None = None
        self.of_image(1, 1)
        self._refused = ""
        self._misfit = ""
        self._fits = False
        self._outcome = "loop closures stay unverified" if params.loops.unverified else "no loops are closed"
        self._subscriptions: list[Subscription] = []
        image_topic = resolved(node, params.image)
        topic = camera_info_topic(image_topic) if params.camera_info == "auto" else params.camera_info
        self._topic = resolved(node, topic) if topic else ""
        self._rectified = is_rectified(image_topic)
        self.on_timer(wanted)

    @property
    def problem(self) -> str:
        """Why nothing can be measured in the images, as one sentence; empty where all is known."""
        if self._misfit or self._refused:
            return f"{self._misfit or self._refused}; {self._outcome}"
        if self._given is not None or self._intrinsics is not None:
            return ""
        if not self._topic:
            return f"neither camera_info nor intrinsics tell of the camera's lens: {self._outcome}"
        return f"nothing on {self._topic} yet: {self._outcome} until the camera's CameraInfo comes, or set intrinsics"

    def of_image(self, width: int, height: int) -> Intrinsics | None:
        """The camera of images of this size, in pixels; None where it is not known."""
        if self._given is not None:
            return pinhole(self._given, width, height)
        camera = self._intrinsics
        if camera is None:
            return None
        stretched = (width / camera.width) / (height / camera.height)
        self._fits = abs(stretched - 1) <= _ASPECT
        if not self._fits:
            self._misfit = (
                f"{self._topic} is of {camera.width} x {camera.height} pixels and the images are {width} x {height}:"
                " set camera_info to the topic of these images, or intrinsics"
            )
            return None
        self._misfit = ""
        return camera.resized(width, height)

    def on_timer(self, wanted: bool = True) -> None:
        """Stop listening once all is known or nothing is wanted, else listen. Call in the executor's thread."""
        if self._fits or not wanted or self._given is not None or not self._topic:
            self.close()
        else:
            self._listen()

    def close(self) -> None:
        """Stop listening."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _listen(self) -> None:
        """To drivers that repeat it, and to those that latch it once they are there: no one QoS hears both."""
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
            self._intrinsics = intrinsics_of(message, self._rectified)
            self._refused = ""
        except ConfigError as error:
            self._refused = f"{self._topic}: {error} (or set intrinsics)"
