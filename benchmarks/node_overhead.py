#!/usr/bin/env python3
"""Overhead of the node: time from image callback to published pose, over network and search alone.

    python benchmarks/node_overhead.py MAP [--images 200] [--rate 5] [--size 640x480] [--compressed] [--threads N]

The node runs in its own process and gets synthetic images over DDS. Between blocks of images, while the node is idle,
this process runs the same network and search alone. Blocks alternate, so that other load affects both. The node reports
its latency on /diagnostics, from the image callback until the pose is published.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from array import array
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path, help="map to localise on (.vprmap)")
    parser.add_argument("--images", type=int, default=200, help="number of images (default 200)")
    parser.add_argument("--rate", type=float, default=5.0, help="images a second (default 5)")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT (default 640x480)")
    parser.add_argument("--compressed", action="store_true", help="send JPEG instead of rgb8")
    parser.add_argument("--model", default="", help="model, the map's own by default")
    parser.add_argument(
        "--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="CPU threads (default: the node's)"
    )
    parser.add_argument("--limit", type=float, default=0.0, help="exit 1 if the ratio is above this")
    return parser.parse_args()


class Bare:
    """Network and search alone, as the node runs them."""

    def __init__(self, options: argparse.Namespace) -> None:
        from vpr_ros.localize.localizer import Localizer

        self.localizer = Localizer.open(options.map, options.model, threads=options.threads)
        self.times_ms: list[float] = []

    def run(self, image_rgb: np.ndarray, count: int, rate: float) -> None:
        from vpr_ros.base.image import preprocess

        describer, config = self.localizer.describer, self.localizer.config
        batch = preprocess(image_rgb, describer.manifest.preprocessing)[None]
        for _ in range(count):
            start = time.perf_counter()
            descriptor = describer.describe(batch).descriptors[0]
            self.localizer.index.search(descriptor, config.search.matches)
            self.times_ms.append(1e3 * (time.perf_counter() - start))
            time.sleep(max(0.0, 1 / rate - (time.perf_counter() - start)))


class Node:
    """The localizer node and a camera."""

    def __init__(self, options: argparse.Namespace) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseArray
        from sensor_msgs.msg import CompressedImage, Image

        os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 200 + 1)
        command = [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args", "-p", f"map:={options.map}"]
        command += ["-p", "base_frame:=''", "-p", f"threads:={options.threads}"]
        command += [
            "-p",
            "reliability:=reliable",
            "-p",
            f"image_type:={'CompressedImage' if options.compressed else 'Image'}",
        ]
        command += ["-p", f"model:={options.model}"] if options.model else []
        path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
        self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        rclpy.init()
        self.spin_once, self.node = rclpy.spin_once, rclpy.create_node("camera")
        self.publisher = self.node.create_publisher(CompressedImage if options.compressed else Image, "/image", 5)
        self.figures: dict[str, str] = {}
        self.answers = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        self.node.create_subscription(PoseArray, "/localizer/hypotheses", self._answered, 10)
        while not self.publisher.get_subscription_count():
            self.spin(0.1)
        self.spin(1.0)

    def send(self, image_rgb: np.ndarray, compressed: bool, count: int, rate: float) -> None:
        message = image_message(image_rgb, compressed)
        for _ in range(count):
            message.header.stamp = self.node.get_clock().now().to_msg()
            self.publisher.publish(message)
            time.sleep(0.5 / rate)  # a camera adds no load
            self.spin(0.5 / rate)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.spin_once(self.node, timeout_sec=left)

    def _answered(self, _: object) -> None:
        self.answers += 1

    def _diagnosed(self, message: object) -> None:
        self.figures = {item.key: item.value for item in message.status[0].values}  # type: ignore[attr-defined]


def image_message(image_rgb: np.ndarray, compressed: bool) -> object:
    """The image as a message."""
    import cv2
    from sensor_msgs.msg import CompressedImage, Image

    if compressed:
        data = cv2.imencode(".jpg", image_rgb[..., ::-1])[1].tobytes()
        return CompressedImage(format="jpeg", data=array("B", data))
    height, width, _ = image_rgb.shape
    data = array("B", image_rgb.tobytes())
    return Image(height=height, width=width, step=3 * width, encoding="rgb8", data=data)


def main() -> int:
    options = arguments()
    width, height = map(int, options.size.split("x"))
    import cv2

    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image_rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    bare, node = Bare(options), Node(options)
    try:
        bare.run(image_rgb, 5, options.rate)
        bare.times_ms.clear()
        block = 10
        for _ in range(max(1, options.images // block)):
            node.send(image_rgb, options.compressed, block, options.rate)
            bare.run(image_rgb, block, options.rate)
        node.spin(1.5)
    finally:
        node.process.send_signal(2)
        node.process.wait(10)
    bare_ms, node_ms = float(np.median(bare.times_ms)), float(node.figures["latency p50 [ms]"])
    kind = "JPEG" if options.compressed else "rgb8"
    steps = [f"{key[:-9]} {value}" for key, value in node.figures.items() if key.endswith(" p50 [ms]")]
    print(f"images sent {options.images}, answered {node.answers}, {options.size} {kind}")
    print(f"bare network + search   p50 {bare_ms:6.1f} ms   p95 {np.percentile(bare.times_ms, 95):6.1f} ms")
    print(f"callback to published   p50 {node_ms:6.1f} ms   p95 {float(node.figures['latency p95 [ms]']):6.1f} ms")
    print(f"inside the node (p50):  {', '.join(steps)}")
    print(f"ratio {node_ms / bare_ms:.3f}")
    return int(bool(options.limit) and node_ms / bare_ms > options.limit)


if __name__ == "__main__":
    sys.exit(main())
