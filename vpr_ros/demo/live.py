"""A bag over real topics to a real node in a process of its own, and what the node answered."""

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
from vpr_ros.drives.bag import read_messages

IMAGE_TOPIC, ODOM_TOPIC = "/camera/image_raw/compressed", "/odom"
_TYPES = {IMAGE_TOPIC: CompressedImage, ODOM_TOPIC: Odometry}
_START_S = 60.0  # until the node takes images
_QUIET_S = 2.0  # without an answer, after which the last one has come


@contextmanager
def running_node(
    parameters: dict[str, Any], log: Path, module: str = "vpr_ros.ros.node"
) -> Iterator[subprocess.Popen[bytes]]:
    """The localizer node, or another, as a user starts it, stopped at the end. log: file its output goes to."""
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
    """Publishes bags on the node's topics and listens to what it publishes. Use as a context manager."""

    def __init__(
        self, node: subprocess.Popen[bytes], log: Path, types: Mapping[str, type] = _TYPES, listeners: int = 1
    ) -> None:
        """types: topics to play, with their types. listeners: nodes that must hear odometry before it begins."""
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
        """The end of what the node said."""
        return self._log.read_text(errors="replace")[-2000:]

    def wait_until_ready(self) -> None:
        """Until the node subscribes to images. Raises VprError with the end of its log where it does not."""
        deadline = time.monotonic() + _START_S
        while any(self._publishers[topic].get_subscription_count() < n for topic, n in self._listeners.items()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise VprError(f"the node did not start; the end of its log:\n{self.log()}")
            time.sleep(0.1)

    def forget(self) -> None:
        """Clear the node's memory of where it was."""
        self._relocalize.call(Trigger.Request())

    def play(self, bag: Path, rate_hz: float, on_image: Callable[[int], None]) -> None:
        """Publish a bag's images and odometry in order, images rate_hz a second.

        on_image: called with the number of images published. Stamps are the bag's: the filter sees the recorded speed.
        """
        due, images = 0.0, 0
        for message in read_messages(bag, list(self._publishers)):
            if message.topic == IMAGE_TOPIC:
                time.sleep(max(0.0, due - time.monotonic()))
                due = time.monotonic() + 1 / rate_hz  # a camera that was late is not faster afterwards
                images += 1
                on_image(images)
            self._publishers[message.topic].publish(message.data)
        if self._process.poll() is not None:
            raise VprError(f"the node stopped while {bag.name} was played; the end of its log:\n{self.log()}")


def wait_for_answers(answers: Path, images: int) -> list[str]:
    """The lines of an answers file once all images are answered, or none has been for a while."""
    seen, since = -1, time.monotonic()
    while True:
        text = answers.read_text() if answers.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # without one that is being written
        if len(lines) >= images or time.monotonic() - since > _QUIET_S:
            return lines
        if len(lines) != seen:
            seen, since = len(lines), time.monotonic()
        time.sleep(0.1)
