"""An example back end: odometry and loop closures in, a corrected path out.

    python -m vpr_ros.demo.correct --ros-args -p odom:=/odom -p closures:=localizer/loop_closures

Its frame, "map", starts at the robot's first pose, or is that of an earlier session (earlier:=FILE.tum, its path, and
earlier_map:=NAME.vprmap, its map's file name). It holds one drive, and begins anew if odometry restarts or the clock
jumps back. The path has a pose at each of the graph's nodes, and the newest one.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from vpr_msgs.msg import LoopClosure  # type: ignore[attr-defined]
from vpr_ros.base.messages import matrix_from_pose, stamp_ns
from vpr_ros.demo.pose_graph import Closure, OdometryNoise, PoseGraph
from vpr_ros.drives.tum import read_tum
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.input.odometry import OdometryTrack
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.runtime import starting
from vpr_ros.ros.runtime.interrupts import Interrupts

_GAP_S = 0.5  # between poses that tell a velocity
_PAUSES = 5  # times as long as it takes, at least, from path to path


class PoseGraphNode(Node):
    """Publishes the corrected path. Its parameters:

    odom, closures: topics.
    earlier: the earlier session's path, a TUM file.
    earlier_map: file name of its map; empty: the map that closures name.
    every: metres between the graph's nodes.
    period: seconds between paths.
    odometry_translation, odometry_rotation: standard deviations after one metre, metres and degrees.
    """

    def __init__(self, **options: Any) -> None:
        """options: of rclpy's Node."""
        super().__init__("pose_graph", **options)
        earlier = self.declare_parameter("earlier", "").value
        self._earlier_map = self.declare_parameter("earlier_map", "").value
        every_m = self.declare_parameter("every", 1.0).value
        translation = self.declare_parameter("odometry_translation", OdometryNoise.translation).value
        noise = OdometryNoise(
            translation, self.declare_parameter("odometry_rotation", OdometryNoise.rotation_deg).value
        )
        self._new_graph = partial(PoseGraph, every_m, noise, read_tum(earlier) if earlier else None)
        self._graph = self._new_graph()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = self.create_publisher(Path, "~/path", latched)
        odom = self.declare_parameter("odom", "/odom").value
        self._odometry, self._start = OdometryTrack(odom, _GAP_S, Health(), self.get_logger()), 0
        closures = self.declare_parameter("closures", "localizer/loop_closures").value
        self.create_subscription(Odometry, odom, self._take_odometry, 100)
        self.create_subscription(LoopClosure, closures, self._take_closure, 100)
        self._due_s = 0.0
        self.create_timer(self.declare_parameter("period", 1.0).value, self._on_timer)

    def _take_odometry(self, message: Odometry) -> None:
        taken, now_ns = self._odometry.store(message), stamp_ns(message.header.stamp)
        odometry = self._odometry.at(now_ns)
        if odometry is None or not taken:
            return
        if odometry.start != self._start:
            self.get_logger().warning("the path begins anew")
            self._graph, self._start = self._new_graph(), odometry.start
        self._graph.add_odometry(now_ns, odometry.T_odom_child)

    def _take_closure(self, message: LoopClosure) -> None:
        """Add a verified closure on this drive or on the earlier map.

        Closures on other drives or maps are skipped: their stamps are not in this graph, even if equal ones are.
        """
        own = not message.match_map and message.match_drive == message.drive
        earlier = bool(message.match_map) and message.match_map == (self._earlier_map or message.match_map)
        if not message.verified or not (own or earlier):
            return
        (measured,) = message.t_match_query
        T = matrix_from_pose(measured.pose)
        if T is not None:
            closure = Closure(
                stamp_ns=stamp_ns(message.header.stamp),
                match_stamp_ns=stamp_ns(message.match_stamp),
                T_match_query=T,
                covariance=np.reshape(measured.covariance, (6, 6)),
                earlier=earlier,
            )
            self._graph.add_closure(closure)

    def _on_timer(self) -> None:
        """Publish; a long path less often, so that messages do not wait."""
        start_s = time.monotonic()
        if start_s >= self._due_s:
            self._publish()
            self._due_s = time.monotonic() + _PAUSES * (time.monotonic() - start_s)

    def _publish(self) -> None:
        """Optimise, and publish the whole path."""
        self._graph.optimise()
        if self._graph.too_early:
            self.get_logger().warning(
                f"{self._graph.too_early} closure(s) left out: they are of times before this node had odometry",
                throttle_duration_sec=30.0,
            )
        track = self._graph.path()
        path = Path()
        path.header.frame_id = "map"
        for stamp, T in zip(track.stamps_ns, track.T, strict=True):
            pose = PoseStamped(pose=convert.pose_message(T))
            pose.header.stamp = convert.time_message(int(stamp))
            path.poses.append(pose)
        if path.poses:
            path.header.stamp = path.poses[-1].header.stamp
            self._publisher.publish(path)


def run(interrupts: Interrupts) -> None:
    """Spin until SIGINT or SIGTERM."""
    interrupts.begin()
    starting.init("pose_graph")
    try:
        if not interrupts.asked:
            rclpy.spin(PoseGraphNode())
    except Exception:
        if rclpy.ok() and not interrupts.asked:
            raise
    rclpy.try_shutdown()
    interrupts.end()


if __name__ == "__main__":
    from vpr_ros.demo.correct import main

    main()
