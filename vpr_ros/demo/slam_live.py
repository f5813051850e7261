"""A session over ROS topics: the node in mode map, the example pose graph, and their outputs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage

from vpr_msgs.msg import LoopClosure  # type: ignore[attr-defined]
from vpr_ros.base.errors import VprError
from vpr_ros.base.messages import camera_info_topic, matrix_from_pose, stamp_ns
from vpr_ros.base.track import NO_GAP, Track
from vpr_ros.demo.live import IMAGE_TOPIC, ODOM_TOPIC, Player, running_node
from vpr_ros.demo.pace import Pace
from vpr_ros.demo.slam_session import RecordedClosure

_TYPES = {IMAGE_TOPIC: CompressedImage, camera_info_topic(IMAGE_TOPIC): CameraInfo, ODOM_TOPIC: Odometry}
_QUIET_S = 4.0  # time without a closure after which no more are expected
_PATIENCE_S = 30.0  # maximum wait for the last path
_AHEAD = 8  # images that may wait at the node: it keeps ten, and says once a second how many it has answered
_DONE = ("images answered", "dropped (busy)", "dropped (bad image)")  # in its diagnostics
_DRIFT = 0.04  # the simulated odometry is off by up to 0.034 of the distance


class Listener(Player):
    """A player that stores the closures, the newest path, and how many images the node has answered.

    done: images that the node has answered or dropped, as it said last. answered: without those that it dropped.
    """

    def __init__(self, node: subprocess.Popen[bytes], log: Path) -> None:
        super().__init__(node, log, _TYPES, listeners=2)
        self.closures: list[RecordedClosure] = []
        self.path: Track | None = None
        self.paths = 0
        self.done = self.answered = 0
        self.last_closure_s = time.monotonic()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(LoopClosure, "localizer/loop_closures", self._take_closure, 100)
        self._node.create_subscription(PathMessage, "pose_graph/path", self._take_path, latched)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)

    def _take_closure(self, message: LoopClosure) -> None:
        self.last_closure_s = time.monotonic()
        if not message.verified:
            return
        (measured,) = message.t_match_query
        T = matrix_from_pose(measured.pose)
        assert T is not None  # a verified closure has a finite pose
        self.closures.append(
            RecordedClosure(
                stamp_ns=stamp_ns(message.header.stamp),
                keyframe_id=message.keyframe_id,
                match_stamp_ns=stamp_ns(message.match_stamp),
                match_id=message.match_id,
                match_map=message.match_map,
                inliers=message.inliers,
                T_match_query=T,
                covariance=np.reshape(measured.covariance, (6, 6)),
            )
        )

    def _take_path(self, message: PathMessage) -> None:
        stamps = [stamp_ns(pose.header.stamp) for pose in message.poses]
        T = [matrix_from_pose(pose) for pose in message.poses]
        self.path = Track.of(stamps, [matrix for matrix in T if matrix is not None], NO_GAP)
        self.paths += 1

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            counts = [int(values.get(name, 0)) for name in _DONE]
            self.answered, self.done = counts[0], sum(counts)

    def wait_until_quiet(self) -> Track:
        """The path, once no closure has come for a while and the pose graph has updated twice since."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() - self.last_closure_s < _QUIET_S:
            time.sleep(0.1)
        wanted = self.paths + 2
        while self.paths < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        if self.path is None:
            raise VprError(f"no path came from the pose graph; the end of the node's log:\n{self.log()}")
        return self.path


def drive_session(
    bag: Path,
    map_path: Path,
    earlier: Sequence[tuple[Path, Path]],
    camera_pose: list[float],
    rate_hz: float,
    on_image: Callable[[int], None],
) -> tuple[list[RecordedClosure], Track, int]:
    """Play a bag to the node in mode map and to the pose graph, no faster than the node answers.

    earlier: (map, path as a TUM file) of earlier sessions; the pose graph uses the first. Logs are written next to the
    map. Returns the verified closures, the path, and the number of images that the node answered.
    """
    maps = ", ".join(f'"{path.resolve()}"' for path, _ in earlier)
    parameters = {
        "mode": "map",
        "session": map_path.resolve(),
        "image": IMAGE_TOPIC,
        "camera_info": camera_info_topic(IMAGE_TOPIC),
        "odom": ODOM_TOPIC,
        "camera_pose": camera_pose,
        "loops.drift": _DRIFT,
        **({"earlier": f"[{maps}]"} if earlier else {}),
    }
    back_end = {"odom": ODOM_TOPIC}
    if earlier:
        back_end |= {"earlier": str(earlier[0][1].resolve()), "earlier_map": earlier[0][0].name}
    log, back_end_log = map_path.with_suffix(".node.log"), map_path.with_suffix(".pose_graph.log")
    with ExitStack() as stack:
        node = stack.enter_context(running_node(parameters, log))
        stack.enter_context(running_node(back_end, back_end_log, "vpr_ros.demo.correct"))
        player = Listener(node, log)
        stack.enter_context(player)
        player.wait_until_ready()
        player.play(bag, Pace(rate_hz, lambda: player.done, _AHEAD), on_image)
        path = player.wait_until_quiet()
        return list(player.closures), path, player.answered
