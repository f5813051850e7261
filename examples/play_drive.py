"""Plays any drive into the running node as live images: a camera on the desk. Needs ROS 2.

    ros2 launch vpr_ros localize.launch.py map:=town.vprmap base_frame:="''"
    python examples/play_drive.py demo/bags/sun 5

The second argument is images per second. Stamps are those of the clock, so the robot seems to drive at that pace.
"""

import contextlib
import sys
import time
from array import array

import rclpy
from rclpy.duration import Duration
from sensor_msgs.msg import Image

from vpr_ros import open_drive


def main(drive: str, rate_hz: str = "5", topic: str = "/image") -> None:
    frames = open_drive(drive)
    rclpy.init()
    node = rclpy.create_node("play_drive")
    publisher = node.create_publisher(Image, topic, 10)
    while rclpy.ok() and not publisher.get_subscription_count():
        node.get_logger().info(f"waiting for a subscriber of {topic}", throttle_duration_sec=5.0)
        time.sleep(0.1)
    for recorded in frames:
        if not rclpy.ok():  # Ctrl-C
            return
        image_rgb = recorded.read()
        height, width, _ = image_rgb.shape
        pixels = array("B", image_rgb.tobytes())
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=pixels)
        message.header.stamp, message.header.frame_id = node.get_clock().now().to_msg(), "camera"
        publisher.publish(message)
        time.sleep(1 / float(rate_hz))
    publisher.wait_for_all_acked(Duration(seconds=5))  # the last images are still on their way
    rclpy.shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(*sys.argv[1:]) if len(sys.argv) > 1 else sys.exit(__doc__)
