#!/usr/bin/env python3
"""Stamps that are zero, stuck or jittering, through the real node: is it as right as with right stamps?

    python benchmarks/any_robot_node.py [--drive sun] [--rate 5] [--bags demo/bags] [--map MAP] [--json FILE]

The localizer runs in a process of its own and gets a drive of `make demo` over DDS, an image at a time: the next one
comes after the answer and after 1 / rate seconds. Stamps are those of the system clock; zero; one stamp for all images;
or off by up to 50 ms, which keeps the images' order; or such that every fifth image is up to 50 ms older than the one
before it, which breaks the order: the node leaves it out. Odometry, at 20 Hz, always has right stamps.

An image's answer is the last one that was published before the next image was sent. Limits, of images on the map
(within 25 m of a place), against right stamps: recall@1 of the published poses at most 0.02 lower, called off the map
at most 0.02 more. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from vpr_ros.base import geometry
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.open import open_drive
from vpr_ros.inference.models import DEFAULT_MODEL
from vpr_ros.inference.open import open_describer
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap

ROOT = Path(__file__).resolve().parent.parent
SECOND = 10**9
SPACING_M, TOLERANCE_M, LOSS = 5.0, 25.0, 0.02
ANSWER_S = 1.0  # waited for an answer; an image that is left out has none
ODOMETRY_S = 0.05
CAMERA = "camera_optical"

Stamp = Callable[[int, np.random.Generator], int]  # time of an image -> its stamp, ns


def jitter(largest_ms: float) -> Stamp:
    """Stamps that are off by up to so many milliseconds."""
    return lambda now_ns, rng: now_ns + round(1e6 * rng.uniform(-largest_ms, largest_ms))


def stuck() -> Stamp:
    """The first image's stamp for all."""
    first: list[int] = []

    def stamp(now_ns: int, _: np.random.Generator) -> int:
        first.append(now_ns)
        return first[0]

    return stamp


def overtaken() -> Stamp:
    """Every fifth image has a stamp up to 50 ms before that of the image before it."""
    stamps_ns: list[int] = []

    def stamp(now_ns: int, rng: np.random.Generator) -> int:
        late = len(stamps_ns) % 5 == 4
        stamps_ns.append(stamps_ns[-1] - round(1e6 * rng.uniform(1.0, 50.0)) if late else now_ns)
        return stamps_ns[-1]

    return stamp


STAMPS: dict[str, Callable[[], Stamp]] = {
    "right": lambda: lambda now_ns, _: now_ns,
    "zero": lambda: lambda *_: 0,
    "stuck": stuck,
    "jitter 50 ms": lambda: jitter(50.0),
    "overtaken": overtaken,
}
WITH_ODOMETRY = ("right", "jitter 50 ms", "overtaken")  # the others have no time at which to look it up


class Robot:
    """A camera and wheels, and what the localizer publishes."""

    def __init__(self, odometry: bool) -> None:
        import rclpy
        from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
        from nav_msgs.msg import Odometry
        from sensor_msgs.msg import Image

        self._spin_once, self._odometry = rclpy.spin_once, odometry
        self.node = rclpy.create_node("robot")
        self._images = self.node.create_publisher(Image, "/image", 5)
        self._poses_sent = self.node.create_publisher(Odometry, "/odom", 50)
        self.node.create_subscription(PoseWithCovarianceStamped, "/localizer/pose", self._posed, 10)
        self.node.create_subscription(PoseArray, "/localizer/hypotheses", self._answered, 10)
        self.answers = 0
        self._stamp: tuple[int, int] | None = None
        self._poses: dict[tuple[int, int], np.ndarray] = {}
        self._last: tuple[int, np.ndarray] | None = None
        while not self._images.get_subscription_count():
            self.spin(0.1)
        self.spin(2.0)

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._spin_once(self.node, timeout_sec=left)

    def drive_to(self, T_odom_camera: np.ndarray, now_ns: int) -> None:
        """Odometry from the last image to this one."""
        if not self._odometry:
            return
        last_ns, T_last = self._last or (now_ns - SECOND, T_odom_camera)
        for share in np.linspace(0, 1, max(2, round((now_ns - last_ns) / (ODOMETRY_S * SECOND)) + 1))[1:]:
            T = geometry.interpolate(T_last, T_odom_camera, float(share))
            self._poses_sent.publish(odometry_message(T, last_ns + round(share * (now_ns - last_ns))))
        self._last = now_ns, T_odom_camera
        self.spin(0.01)

    def see(self, image_rgb: np.ndarray, stamp_ns: int) -> None:
        """Send an image and wait for its answer."""
        before, end = self.answers, time.monotonic() + ANSWER_S
        self._images.publish(image_message(image_rgb, stamp_ns))
        while self.answers == before and (left := end - time.monotonic()) > 0:
            self._spin_once(self.node, timeout_sec=left)
        self.spin(0.02)  # pose and hypotheses come on two topics

    @property
    def position(self) -> np.ndarray | None:
        """(2,) of the last answer, or None if it was "not on this map", or none came."""
        return None if self._stamp is None else self._poses.get(self._stamp)

    def _posed(self, message: Any) -> None:
        at = message.pose.pose.position
        self._poses[message.header.stamp.sec, message.header.stamp.nanosec] = np.array([at.x, at.y])

    def _answered(self, message: Any) -> None:
        self.answers += 1
        self._stamp = message.header.stamp.sec, message.header.stamp.nanosec


def image_message(image_rgb: np.ndarray, stamp_ns: int) -> Any:
    """sensor_msgs/Image, rgb8."""
    from sensor_msgs.msg import Image

    from vpr_ros.ros.outputs.convert import header

    height, width, _ = image_rgb.shape
    message = Image(header=header(stamp_ns, CAMERA), height=height, width=width, step=3 * width, encoding="rgb8")
    message.data = array("B", image_rgb.tobytes())
    return message


def odometry_message(T_odom_camera: np.ndarray, stamp_ns: int) -> Any:
    """nav_msgs/Odometry of the camera."""
    from nav_msgs.msg import Odometry

    from vpr_ros.ros.outputs.convert import header, pose_message

    message = Odometry(header=header(stamp_ns, "odom"), child_frame_id=CAMERA)
    message.pose.pose = pose_message(T_odom_camera)
    return message


@contextmanager
def localizer(map_path: Path, odometry: bool) -> Iterator[None]:
    """The node, as a user starts it."""
    given = {"map": map_path, "base_frame": "''", "threads": 1, "reliability": "reliable"}
    given |= {"odom": "/odom"} if odometry else {}
    command = [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args"]
    for name, value in given.items():
        command += ["-p", f"{name}:={value}"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(2)
        process.wait(20)


def replay(
    frames: list[DriveFrame], name: str, odometry: bool, rate: float, map_path: Path, positions: np.ndarray
) -> dict[str, float]:
    """One drive with one kind of stamps. positions: (N, 2) of the map's places."""
    rng, stamp = np.random.default_rng(0), STAMPS[name]()
    errors, on_map = [], []
    with localizer(map_path, odometry):
        robot = Robot(odometry)
        for frame in track(frames, f"{name}{', odometry' if odometry else ''}"):
            assert frame.T_map_camera is not None and frame.T_odom_camera is not None
            started, now_ns = time.monotonic(), time.time_ns()
            robot.drive_to(frame.T_odom_camera, now_ns)
            robot.see(frame.read(), stamp(now_ns, rng))
            robot.spin(1 / rate - (time.monotonic() - started))
            truth, answer = frame.T_map_camera[:2, 3], robot.position
            errors.append(np.nan if answer is None else float(np.linalg.norm(answer - truth)))
            on_map.append(np.linalg.norm(positions - truth, axis=1).min() < TOLERANCE_M)
        robot.node.destroy_node()
    of, on = np.array(errors), np.array(on_map)
    return {
        "recall": float(np.mean(of[on] < TOLERANCE_M)),
        "false off": float(np.mean(np.isnan(of[on]))),
        "detected": float(np.mean(np.isnan(of[~on]))),
        "answered": robot.answers / len(frames),
    }


def missed(figures: dict[str, float], right: dict[str, float]) -> list[str]:
    """The limits that stamps miss, against right ones."""
    faults = ["recall"] if figures["recall"] < right["recall"] - LOSS else []
    return faults + (["false off"] if figures["false off"] > right["false off"] + LOSS else [])


def main() -> int:
    """Print a line for each kind of stamps; returns 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drive", default="sun", help="drive of the demo")
    parser.add_argument("--rate", type=float, default=5.0, help="images a second")
    parser.add_argument("--bags", type=Path, default=Path("demo/bags"), help="folder of the demo's drives")
    parser.add_argument("--map", type=Path, help="map of the overcast drive; default: a temporary one")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or path")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    import rclpy

    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 200 + 1))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    frames, rows = list(open_drive(given.bags / given.drive)), []
    with tempfile.TemporaryDirectory() as temporary:
        path = given.map or Path(temporary) / "town.vprmap"
        if not path.exists():
            describer = open_describer(given.model, threads=1)
            build_map(path, [open_drive(given.bags / "overcast")], describer, SPACING_M).close()
        with PlaceMap.open(path) as place_map:
            positions = place_map.places.positions[:, :2].copy()
        rclpy.init()
        for odometry, names in ((False, tuple(STAMPS)), (True, WITH_ODOMETRY)):
            right: dict[str, float] = {}
            for name in names:
                figures = replay(frames, name, odometry, given.rate, path, positions)
                right = right or figures
                rows.append({"stamps": name, "odometry": odometry, **figures, "missed": missed(figures, right)})
                print(json.dumps(rows[-1]), flush=True)
        rclpy.shutdown()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(any(row["missed"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
