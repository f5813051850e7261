"""Success rate of looking up map -> base_link at the current time with live images at 3 Hz, as Nav2 does.

    python benchmarks/tf_lookup.py MAP [--tries 1000] [--rate 3] [--json FILE]    # in a ROS workspace: needs tf2_ros

The node localises on MAP (built from demo/bags/overcast). Odometry and odom -> base_link are published at 50 Hz. A
lookup may wait 0.1 s; Nav2's costmaps and controllers have a transform_tolerance of 0.1 to 0.3 s. The exit status is 1
if less than 0.99 of the lookups succeed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from array import array
from pathlib import Path

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from hostile_messages import BAG, running
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.options import DriveOptions

_LEAST = 0.99


class Robot:
    """Publishes images, odometry and its transform, stamped with the current time."""

    def __init__(self, rate_hz: float) -> None:
        self.node = rclpy.create_node("robot")
        frames = [frame for frame in BagDrive(BAG, DriveOptions()) if frame.T_map_camera is not None]
        self._jpegs = [cv2.imencode(".jpg", frame.read()[..., ::-1])[1].tobytes() for frame in frames[:60]]
        self._x = [float(np.linalg.norm(f.T_map_camera[:2, 3] - frames[0].T_map_camera[:2, 3])) for f in frames[:60]]
        self._images = self.node.create_publisher(CompressedImage, "/cam/compressed", 10)
        self._odometry = self.node.create_publisher(Odometry, "/odom", 50)
        self._tf = self.node.create_publisher(TFMessage, "/tf", 50)
        self._place = 0
        self.node.create_timer(0.02, self._move)
        self.node.create_timer(1 / rate_hz, self._look)

    def _header(self, frame: str) -> Header:
        return Header(stamp=self.node.get_clock().now().to_msg(), frame_id=frame)

    def _move(self) -> None:
        odometry = Odometry(header=self._header("odom"), child_frame_id="base_link")
        odometry.pose.pose.position.x, odometry.pose.pose.orientation.w = self._x[self._place], 1.0
        transform = TransformStamped(header=odometry.header, child_frame_id="base_link")
        transform.transform.translation.x, transform.transform.rotation.w = self._x[self._place], 1.0
        self._odometry.publish(odometry)
        self._tf.publish(TFMessage(transforms=[transform]))

    def _look(self) -> None:
        """Play the images forwards and backwards, so that the drive never jumps."""
        data = array("B", self._jpegs[self._place])
        self._images.publish(CompressedImage(header=self._header("camera_optical"), format="jpeg", data=data))
        count = len(self._jpegs)
        step = int(time.monotonic() * 3) % (2 * count - 2)
        self._place = min(step, 2 * count - 2 - step)


def _spinning(node: Node) -> tuple[SingleThreadedExecutor, threading.Thread]:
    """Spin a node in its own thread."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException, ShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    return executor, thread


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Fraction of lookups that succeed, and their waiting times."""
    from tf2_ros import Buffer, TransformException, TransformListener

    rclpy.init()
    robot = Robot(options.rate)
    listening = rclpy.create_node("listening")
    buffer = Buffer()
    TransformListener(buffer, listening)
    spinning = [_spinning(robot.node), _spinning(listening)]
    parameters = {"map": options.map.resolve(), "image": "/cam/compressed", "odom": "/odom", "publish_tf": "true"}
    parameters |= {"camera_pose": "[0.0, 0.0, 1.6, 0.0, 0.0, 0.0]", "threads": 1}
    good, waited = 0, []
    with tempfile.TemporaryDirectory() as folder, running(parameters, Path(folder, "node.log")):
        end = time.monotonic() + 60
        while not buffer.can_transform("map", "base_link", rclpy.time.Time()) and time.monotonic() < end:
            time.sleep(0.1)
        for _ in range(options.tries):
            begun = time.monotonic()
            try:
                now = listening.get_clock().now()
                buffer.lookup_transform("map", "base_link", now, Duration(seconds=options.tolerance))
                good += 1
            except TransformException:
                pass
            waited.append(time.monotonic() - begun)
            time.sleep(max(0.0, 0.037 - waited[-1]))
        if not good:
            print(Path(folder, "node.log").read_text()[-2000:], buffer.all_frames_as_string(), sep="\n")
    for executor, thread in spinning:
        executor.shutdown()
        thread.join()
    rclpy.try_shutdown()
    return {"share": good / options.tries, "waited p50 [ms]": 1e3 * float(np.median(waited))}


def main() -> int:
    """Print the figures; exit 1 if too few lookups succeed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=3.0, help="images a second")
    parser.add_argument("--tolerance", type=float, default=0.1, help="seconds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options)
    print(f"{found['share']:.4f} of {options.tries} lookups succeed (least {_LEAST}); {found}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if found["share"] >= _LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
