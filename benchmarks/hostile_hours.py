"""Tests that the node's memory stays flat over hours of drive time: one image per second, played without pauses."""

from __future__ import annotations

import itertools
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import cv2
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseArray
from hostile_messages import BAG, running
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from vpr_ros.drives.bag import BagDrive
from vpr_ros.drives.options import DriveOptions

GROWTH = 1.05  # maximum ratio of resident memory, last hour over second hour
_START_S = 1_700_000_000
_SPEED_M_S = 2.5


class Driver:
    """Publishes an image when the last one is answered."""

    def __init__(self) -> None:
        self._node = rclpy.create_node("driver")
        self._images = self._node.create_publisher(CompressedImage, "/cam/compressed", 10)
        self._odometry = self._node.create_publisher(Odometry, "/odom", 100)
        self._answered = 0
        self._node.create_subscription(PoseArray, "/hostile/localizer/hypotheses", self._take_answer, 10)
        drive = BagDrive(BAG, DriveOptions())
        self._jpegs = [cv2.imencode(".jpg", frame.read()[..., ::-1])[1].tobytes() for frame in drive]
        self.repeated = 0

    def _take_answer(self, _: PoseArray) -> None:
        self._answered += 1

    def drive(self, second: int) -> None:
        """One second: send odometry and an image, wait for the answer. Sent again if a message was lost."""
        stamp = Time(sec=_START_S + second, nanosec=0)
        odometry = Odometry(header=Header(stamp=stamp, frame_id="odom"), child_frame_id="base_link")
        odometry.pose.pose.orientation.w = 1.0
        odometry.pose.pose.position.x = _SPEED_M_S * second
        data = array("B", self._jpegs[second % len(self._jpegs)])
        header = Header(stamp=stamp, frame_id="camera_optical")
        image = CompressedImage(header=header, format="jpeg", data=data)
        for attempt in itertools.count():
            before, until = self._answered, time.monotonic() + 1.0
            self._odometry.publish(odometry)
            self._images.publish(image)
            while self._answered == before and time.monotonic() < until:
                rclpy.spin_once(self._node, timeout_sec=0.1)
            if self._answered > before:
                return
            self.repeated += 1
            if attempt > 60:
                raise TimeoutError(f"no answer at second {second}")

    def close(self) -> None:
        """Destroy the node."""
        self._node.destroy_node()


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def run(hours: float, town: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures (resident memory in MB at the end of each hour), and faults."""
    rclpy.init()
    with tempfile.TemporaryDirectory() as folder:
        parameters = {"map": town, "image": "/cam/compressed", "odom": "/odom", "base_frame": "''", "backend": "onnx"}
        log, by_hour, begun = Path(folder, "node.log"), [], time.monotonic()
        with running(parameters, log) as node:
            driver = Driver()
            try:
                for second in range(int(hours * 3600)):
                    driver.drive(second)
                    if second % 3600 == 3599:
                        by_hour.append(round(resident_mb(node.pid), 1))
                        print(f"  hour {len(by_hour)}: {by_hour[-1]} MB, {time.monotonic() - begun:.0f} s", flush=True)
            except TimeoutError as error:
                print(f"  {error}; the end of the node's log:\n{log.read_text(errors='replace')[-2000:]}")
            finally:
                driver.close()
                rclpy.try_shutdown()
            stopped, text = node.poll() is not None, log.read_text(errors="replace")
    growth = by_hour[-1] / by_hour[1] if len(by_hour) > 2 else float("nan")
    wrong = [] if len(by_hour) == int(hours) else [f"only {len(by_hour)} of {hours:g} hours were driven"]
    if stopped or "Traceback" in text:
        wrong.append("the node stopped, or had an internal error")
    if len(by_hour) > 2 and not growth <= GROWTH:
        wrong.append(f"memory of the last hour is {growth:.3f} of the second's, over {GROWTH}")
    figures = {"resident MB by hour": by_hour, "last over second": round(growth, 4), "sent again": driver.repeated}
    return {"hours": figures}, wrong
