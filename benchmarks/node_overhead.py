#!/usr/bin/env python3
"""Overhead of the node: time from image callback to published pose, over network and search alone.

    python benchmarks/node_overhead.py MAP DRIVE [--images 200] [--rate 5] [--size 640x480] [--compressed] [--threads N]
                                       [--json FILE]

The node runs in its own process and gets the first images of a drive over DDS. Between blocks of images, while the node
is idle, this process runs the same network and search alone on the same images. Blocks alternate, so that other load
affects both. The node reports its latency on /diagnostics, from the image callback until the pose is published. Exits
with 1 if the median ratio is above the limit, or if fewer than half of the images got a pose: an image of nowhere is
answered with less work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from array import array
from itertools import islice
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
BLOCK = 10  # images sent before the bare network runs on them


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path, help="map to localise on (.vprmap)")
    parser.add_argument("drive", type=Path, help="drive on that map, whose images are sent")
    parser.add_argument("--images", type=int, default=200, help="number of images (default 200)")
    parser.add_argument("--rate", type=float, default=5.0, help="images a second (default 5)")
    parser.add_argument("--size", default="", help="WIDTHxHEIGHT (default: the drive's)")
    parser.add_argument("--compressed", action="store_true", help="send JPEG instead of rgb8")
    parser.add_argument("--model", default="", help="model, the map's own by default")
    parser.add_argument(
        "--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="CPU threads (default: the node's)"
    )
    parser.add_argument("--limit", type=float, default=1.1, help="largest ratio (default 1.1)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


class Bare:
    """Network and search alone, as the node runs them."""

    def __init__(self, options: argparse.Namespace) -> None:
        from vpr_ros.localize.localizer import Localizer

        self.localizer = Localizer.open(options.map, options.model, threads=options.threads)
        self.times_ms: list[float] = []

    def run(self, images: list[np.ndarray], rate: float) -> None:
        from vpr_ros.base.image import preprocess

        describer, config = self.localizer.describer, self.localizer.config
        for image_rgb in images:
            batch = preprocess(image_rgb, describer.manifest.preprocessing)[None]
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
        from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
        from sensor_msgs.msg import CompressedImage, Image

        os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 200 + 1)
        command = [sys.executable, "-m", "vpr_ros.ros.node", "--ros-args", "-p", f"map:={options.map}"]
        kind = "CompressedImage" if options.compressed else "Image"
        parameters = ["base_frame:=''", f"threads:={options.threads}", "reliability:=reliable", f"image_type:={kind}"]
        parameters += [f"model:={options.model}"] if options.model else []
        command += [word for parameter in parameters for word in ("-p", parameter)]
        path = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))
        self.process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        rclpy.init()
        self.spin_once, self.node = rclpy.spin_once, rclpy.create_node("camera")
        self.publisher = self.node.create_publisher(CompressedImage if options.compressed else Image, "/image", 5)
        self.figures: dict[str, str] = {}
        self.answers = self.poses = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        self.node.create_subscription(PoseArray, "/localizer/hypotheses", self._answered, 10)
        self.node.create_subscription(PoseWithCovarianceStamped, "/localizer/pose", self._localised, 10)
        while not self.publisher.get_subscription_count():
            self.spin(0.1)
        self.spin(1.0)

    def send(self, images: list[np.ndarray], compressed: bool, rate: float) -> None:
        for message in [image_message(image_rgb, compressed) for image_rgb in images]:
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

    def _localised(self, _: object) -> None:
        self.poses += 1

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


def images_of(options: argparse.Namespace) -> list[np.ndarray]:
    """The first images of the drive, (H, W, 3) uint8 RGB, of the size wanted."""
    import cv2

    from vpr_ros.drives.open import open_drive

    images = [frame.read() for frame in islice(open_drive(options.drive), options.images)]
    if options.size:
        width, height = map(int, options.size.split("x"))
        images = [cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA) for image_rgb in images]
    return images


def main() -> int:
    options = arguments()
    images = images_of(options)
    bare, node = Bare(options), Node(options)
    try:
        bare.run(images[:5], options.rate)
        bare.times_ms.clear()
        for first in range(0, len(images), BLOCK):
            block = images[first : first + BLOCK]
            node.send(block, options.compressed, options.rate)
            bare.run(block, options.rate)
        node.spin(1.5)
    finally:
        node.process.send_signal(2)
        node.process.wait(10)
    bare_ms, node_ms = float(np.median(bare.times_ms)), float(node.figures["latency p50 [ms]"])
    kind = "JPEG" if options.compressed else "rgb8"
    steps_ms = {key[:-9]: float(value) for key, value in node.figures.items() if key.endswith(" p50 [ms]")}
    height, width, _ = images[0].shape
    print(f"images sent {len(images)}, answered {node.answers}, with a pose {node.poses}, {width}x{height} {kind}")
    print(f"bare network + search   p50 {bare_ms:6.1f} ms   p95 {np.percentile(bare.times_ms, 95):6.1f} ms")
    print(f"callback to published   p50 {node_ms:6.1f} ms   p95 {float(node.figures['latency p95 [ms]']):6.1f} ms")
    print(f"inside the node (p50):  {', '.join(f'{step} {ms}' for step, ms in steps_ms.items())}")
    print(f"ratio {node_ms / bare_ms:.3f}, limit {options.limit}")
    if options.json:
        figures = {"bare_ms": bare_ms, "node_ms": node_ms, "ratio": node_ms / bare_ms, "steps_ms": steps_ms}
        options.json.write_text(json.dumps({**figures, "images": len(images), "poses": node.poses}, indent=2))
    return int(node_ms / bare_ms > options.limit or node.poses < len(images) / 2)


if __name__ == "__main__":
    sys.exit(main())
