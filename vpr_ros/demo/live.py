"""Plays a bag over ROS topics to a node in its own process, and collects the answers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from vpr_ros.base.errors import VprError
from vpr_ros.demo.pace import Pace
from vpr_ros.drives.bag import read_messages

IMAGE_TOPIC, ODOM_TOPIC = "/camera/image_raw/compressed", "/odom"
_TYPES = {IMAGE_TOPIC: CompressedImage, ODOM_TOPIC: Odometry}
_START_S = 60.0  # maximum wait until the node subscribes to images


@contextmanager
def running_node(
    parameters: dict[str, Any], log: Path, module: str = "vpr_ros.ros.node"
) -> Iterator[subprocess.Popen[bytes]]:
    """The localizer node (or another module) as a user starts it, stopped at the end. log: file for its output."""
    command = [sys.executable, "-m", module, "--ros-args", "-r", "__ns:=/demo"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value}"]
    with log.open("wb") as output:
        node = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield node
        finally:
            node.terminate()
            try:
                node.wait(timeout=10)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


class Player:
    """Publishes bags on the node's topics and receives its depth images. Use as a context manager."""

    def __init__(
        self, node: subprocess.Popen[bytes], log: Path, types: Mapping[str, type] = _TYPES, listeners: int = 1
    ) -> None:
        """types: topics to play, with their types. listeners: number of nodes that must subscribe to odometry first."""
        self._process, self._log = node, log
        self._listeners = {topic: listeners if topic == ODOM_TOPIC else 1 for topic in types}
        self.depths: dict[int, np.ndarray] = {}  # stamp -> (h, w) float32 metres, as published
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("player", namespace="/demo", context=self._context)
        self._publishers = {topic: self._node.create_publisher(kind, topic, 10) for topic, kind in types.items()}
        self._node.create_subscription(Image, "localizer/depth/image_rect", self._take_depth, qos_profile_sensor_data)
        self._relocalize = self._node.create_client(Trigger, "localizer/relocalize")
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)
        self._executor = executor
        self._thread = threading.Thread(target=executor.spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _take_depth(self, message: Image) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.depths[stamp_ns] = np.frombuffer(message.data, np.float32).reshape(message.height, message.width)

    def log(self) -> str:
        """The end of the node's output."""
        return self._log.read_text(errors="replace")[-2000:]

    def wait_until_ready(self) -> None:
        """Wait until the node subscribes. Raises VprError with the end of its log if it does not."""
        deadline = time.monotonic() + _START_S
        while any(self._publishers[topic].get_subscription_count() < n for topic, n in self._listeners.items()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise VprError(f"the node did not start; the end of its log:\n{self.log()}")
            time.sleep(0.1)

    def forget(self) -> None:
        """Reset the node's temporal filter."""
        self._relocalize.call(Trigger.Request())

    def play(self, bag: Path, pace: Pace, on_image: Callable[[int], None]) -> None:
        """Publish a bag's messages in order. Stamps are those of the bag, so speeds are as recorded.

        pace: when each image is due. on_image: called with the number of images published.
        """
        images = 0
        for message in read_messages(bag, list(self._publishers)):
            if message.topic == IMAGE_TOPIC:
                pace.wait()
                images += 1
                on_image(images)
            self._publishers[message.topic].publish(message.data)
        if self._process.poll() is not None:
            raise VprError(f"the node stopped during {bag.name}; the end of its log:\n{self.log()}")
