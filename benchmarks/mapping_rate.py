#!/usr/bin/env python3
"""Whether the node in mapping mode keeps up with a camera while the robot drives at speed.

    python benchmarks/mapping_rate.py [--rate 10] [--speed 8] [--features xfeat] [--metres 1400] [--frames FILE.npz]

A drive over loops that share streets is rendered beforehand (or read from a recording: --images), then sent to the
node over real topics in real time: images of 320 x 240, odometry at 50 Hz, a calibration. The node is the real one, in
a process of its own that also notes how long each image took, from its callback to the end of its answer, and whether
it became a keyframe. Dropped are images that a newer one overtook while the node was busy; lost are those that never
arrived. The share of the CPU is the node's alone, 1 being one core. --frames keeps the rendered drive for the next run.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rich.progress import track
from sensor_msgs.msg import CameraInfo, Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vpr_ros.base import geometry  # noqa: E402
from vpr_ros.ros import node  # noqa: E402
from vpr_ros.ros.outputs import convert  # noqa: E402
from vpr_ros.ros.pipeline import Arrival, Pipeline  # noqa: E402

ODOMETRY_HZ = 50.0
PERCENT = (50, 95, 99)
COUNTS = ("images received", "images answered", "dropped (busy)", "keyframes", "closures")
TROUBLES = ("images without odometry", "dropped (bad image)", "internal errors", "odometry restarts")
CAMERA_POSE = [0.0, 0.0, 1.6, 0.0, 0.0, 0.0]
T_BASE_CAMERA = geometry.transform(geometry.R_BODY_OPTICAL, np.array(CAMERA_POSE[:3]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0, help="images a second (default 10)")
    parser.add_argument("--speed", type=float, default=8.0, help="of the robot, m/s (default 8)")
    parser.add_argument("--features", default="xfeat", help="local features: xfeat, sift, orb (default xfeat)")
    parser.add_argument("--metres", type=float, default=1400.0, help="driven (default 1400, 500 of them twice)")
    parser.add_argument("--seed", type=int, default=9101, help="of the town (default 9101)")
    parser.add_argument("--images", type=Path, metavar="BAG", help="a recording to take images from, instead of a town")
    parser.add_argument("--frames", type=Path, metavar="NPZ", help="where the drive is kept; used again if it is there")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the networks (default: the node's)")
    parser.add_argument("--limit", type=float, help="exit 1 where a larger share of the images was dropped")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser.parse_args()


@dataclass
class Frames:
    """images: (N, H, W, 3) uint8. T_odom_base: (N, 4, 4). K: (3, 3)."""

    images: np.ndarray
    T_odom_base: np.ndarray
    K: np.ndarray


def frames_of(options: argparse.Namespace) -> Frames:
    """The drive, an image every speed / rate metres."""
    every_m = options.speed / options.rate
    of = f"{options.images or options.seed}, {every_m} m, {options.metres} m"
    if options.frames and options.frames.exists():
        with np.load(options.frames) as kept:
            if str(kept["of"]) == of:
                return Frames(kept["images"], kept["T_odom_base"], kept["K"])
    images, T_odom_camera, K = (recorded if options.images else rendered)(options, every_m)
    frames = Frames(np.stack(images), T_odom_camera @ geometry.inverse(T_BASE_CAMERA), K)
    if options.frames:
        np.savez(options.frames, of=of, images=frames.images, T_odom_base=frames.T_odom_base, K=K)
    return frames


def rendered(options: argparse.Namespace, every_m: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Loops through a simulated town."""
    from vpr_lab.simulation.conditions import Condition
    from vpr_lab.simulation.drives import Motion, SimulatedDrive
    from vpr_lab.simulation.town import Town

    motion = Motion(every_m=every_m, speed_mps=options.speed, length_m=options.metres)
    drive = SimulatedDrive(Town(options.seed), Condition.preset("overcast", 80), "loops", seed=80, motion=motion)
    images = [frame.read() for frame in track(list(drive), "rendering")]
    drive.close()
    return images, drive.T_odom_camera, drive.camera.intrinsics.K


def recorded(options: argparse.Namespace, every_m: float) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """A recording's images, each again and again until the way to the next one is driven; poses in between."""
    from vpr_ros.drives.open import open_drive

    frames = list(open_drive(options.images))
    if not frames or frames[0].intrinsics is None:
        sys.exit(f"{options.images} has no images or no CameraInfo: give a recording with both")
    T = np.array([frame.T_odom_camera if frame.T_odom_camera is not None else frame.T_map_camera for frame in frames])
    ways = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1))])
    wanted = np.arange(0.0, min(options.metres, ways[-1]), every_m)
    before = np.clip(np.searchsorted(ways, wanted, side="right") - 1, 0, len(T) - 2)
    loaded = {int(k): frames[k].read() for k in np.unique(before)}
    shares = (wanted - ways[before]) / np.diff(ways)[before]
    poses = [geometry.interpolate(T[k], T[k + 1], share) for k, share in zip(before, shares, strict=True)]
    return [loaded[int(k)] for k in before], np.array(poses), frames[0].intrinsics.K


class Robot:
    """The node in mapping mode and the robot that it rides on."""

    def __init__(self, options: argparse.Namespace, frames: Frames, folder: Path) -> None:
        os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 200 + 1)
        self._frames, self._rate = frames, options.rate
        self._noted = folder / "noted.json"
        parameters = {
            "mode": "map",
            "session": folder / "session.vprmap",
            "odom": "/odom",
            "reliability": "reliable",
            "camera_pose": CAMERA_POSE,
            "loops.features": options.features,
            "threads": options.threads,
        }
        command = [sys.executable, __file__, "--node", str(self._noted), "--ros-args"]
        command += [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
        self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        rclpy.init()
        self._spin_once, self._node = rclpy.spin_once, rclpy.create_node("robot")
        self._images = self._node.create_publisher(Image, "/image", 5)
        self._odometry = self._node.create_publisher(Odometry, "/odom", 100)
        self._infos = self._node.create_publisher(CameraInfo, "/camera_info", 5)
        self._values: dict[str, str] = {}
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + 60.0
        while self._values.get("state") != "active" or not self._images.get_subscription_count():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("the node did not start: see its log above")
            self._spin_until(time.monotonic() + 0.1)
        self._spin_until(time.monotonic() + 1.0)

    def drive(self) -> dict[str, Any]:
        """Everything in real time: the node's own counts, and its share of the CPU."""
        frames, count = self._frames, len(self._frames.images)
        messages = [self._image(image) for image in frames.images]
        poses = [self._pose(tick / ODOMETRY_HZ) for tick in range(int(count / self._rate * ODOMETRY_HZ))]
        ticks, late_s = 0, 0.0
        start, epoch_ns, cpu_s = time.monotonic(), time.time_ns(), self._cpu_s()
        for number in track(range(count), "driving"):
            taken_s = number / self._rate
            while ticks < len(poses) and ticks / ODOMETRY_HZ <= taken_s:
                self._spin_until(start + ticks / ODOMETRY_HZ)
                self._odometry.publish(self._stamped(poses[ticks], epoch_ns, ticks / ODOMETRY_HZ))
                ticks += 1
            self._spin_until(start + taken_s)
            late_s = max(late_s, time.monotonic() - start - taken_s)
            if number % 10 == 0:
                self._infos.publish(self._stamped(self._info(), epoch_ns, taken_s))
            self._images.publish(self._stamped(messages[number], epoch_ns, taken_s))
        share = (self._cpu_s() - cpu_s) / (time.monotonic() - start)
        self._spin_until(time.monotonic() + 2.5)
        timeliness = {"CPU share": round(share, 3), "sent late by at most [ms]": round(1e3 * late_s, 1)}
        return {"images sent": count, **self._counts(count), **timeliness}

    def _counts(self, sent: int) -> dict[str, Any]:
        """What the node says of itself."""
        figures: dict[str, Any] = {name: int(self._values.get(name, 0)) for name in COUNTS}
        figures |= {name: int(self._values[name]) for name in TROUBLES if name in self._values}
        figures["lost"] = sent - figures["images received"]
        figures["dropped share"] = round(figures["dropped (busy)"] / sent, 4)
        steps = {key: float(value) for key, value in self._values.items() if key.endswith(" p50 [ms]")}
        return figures | {"of a keyframe": {key: value for key, value in steps.items() if "latency" not in key}}

    def stop(self) -> dict[str, Any]:
        """End the node; the milliseconds that it noted, of keyframes and of other images."""
        self.process.send_signal(2)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self._noted.exists():
            return {}
        noted = json.loads(self._noted.read_text())
        return {f"{kind} [ms]": distribution(noted[kind]) for kind in ("keyframes", "others")}

    def _spin_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self._spin_once(self._node, timeout_sec=left)

    def _cpu_s(self) -> float:
        """Seconds that the node's threads have run."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _diagnosed(self, message: Any) -> None:
        if message.status[0].name.endswith("visual localisation"):
            self._values = {item.key: item.value for item in message.status[0].values}

    def _image(self, image_rgb: np.ndarray) -> Any:
        height, width, _ = image_rgb.shape
        message = Image(
            height=height, width=width, step=3 * width, encoding="rgb8", data=array("B", image_rgb.tobytes())
        )
        message.header.frame_id = "camera_link"
        return message

    def _info(self) -> Any:
        height, width = self._frames.images.shape[1:3]
        K = self._frames.K.reshape(-1)
        return CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5, k=K)

    def _pose(self, seconds: float) -> Any:
        """Odometry at a moment of the drive."""
        T = self._frames.T_odom_base
        number = min(int(seconds * self._rate), len(T) - 2)
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id = "odom"
        message.pose.pose = convert.pose_message(
            geometry.interpolate(T[number], T[number + 1], seconds * self._rate - number)
        )
        return message

    @staticmethod
    def _stamped(message: Any, epoch_ns: int, seconds: float) -> Any:
        message.header.stamp = convert.time_message(epoch_ns + round(1e9 * seconds))
        return message


def distribution(values: list[float]) -> dict[str, float]:
    """How many, percentiles, and the largest."""
    if not values:
        return {"count": 0}
    percentiles = {f"p{percent}": round(float(np.percentile(values, percent)), 1) for percent in PERCENT}
    return {"count": len(values), **percentiles, "max": round(max(values), 1)}


def run_node(noted: Path) -> None:
    """The node as users run it, its pipeline timed from outside; what was noted is written at the end."""
    process = Pipeline.process
    times_ms: dict[str, list[float]] = {"keyframes": [], "others": []}

    def timed(self: Pipeline, arrival: Arrival) -> None:
        session = self.role.closer.session  # type: ignore[attr-defined]
        before = len(session)
        process(self, arrival)
        kind = "keyframes" if len(session) > before else "others"
        times_ms[kind].append((time.monotonic_ns() - arrival.time_ns) / 1e6)

    Pipeline.process = timed  # type: ignore[method-assign]
    try:
        node.main(sys.argv[3:])
    finally:
        noted.write_text(json.dumps(times_ms))


def main() -> int:
    """Print the figures as JSON; exit 1 above --limit."""
    options = arguments()
    frames = frames_of(options)
    with tempfile.TemporaryDirectory() as folder:
        robot = Robot(options, frames, Path(folder))
        try:
            robot.wait_until_ready()
            load = round(os.getloadavg()[0], 2)
            figures = robot.drive()
        finally:
            noted = robot.stop()
        figures |= noted
        figures["map [MB]"] = round((Path(folder) / "session.vprmap").stat().st_size / 1e6, 1)
    how = {"rate [Hz]": options.rate, "speed [m/s]": options.speed, "features": options.features}
    report = json.dumps({**how, "cores": os.cpu_count(), "load before": load, **figures}, indent=2)
    print(report)
    if options.json:
        options.json.write_text(report + "\n")
    return int(options.limit is not None and figures["dropped share"] > options.limit)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        run_node(Path(sys.argv[2]))
    else:
        sys.exit(main())
