"""~/watchdog: whether another localiser (AMCL, NDT, slam_toolbox) agrees with this one."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from vpr_ros.base.messages import matrix_from_pose, stamp_ns
from vpr_ros.base.track import PoseTrack
from vpr_ros.ros.input.listeners import TransformListener
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.input.topics import resolved
from vpr_ros.ros.outputs.answer import Answer
from vpr_ros.ros.outputs.comparison import Comparison, PoseComparison, Verdict
from vpr_ros.ros.params import NodeParams

_CHECK_S, _PERIOD_S = 0.2, 1.0
_DELAY_NS = 500_000_000  # an image is compared this late, when the other's poses around its stamp have arrived
_GAP_NS = 2_000_000_000  # maximum time between an image and a pose on a topic
_KEEP = 500  # poses kept of a topic
_LEVELS = {
    Verdict.AGREE: DiagnosticStatus.OK,
    Verdict.CANNOT_TELL: DiagnosticStatus.WARN,
    Verdict.DISAGREE: DiagnosticStatus.ERROR,
}
_POSES = {
    "geometry_msgs/msg/PoseWithCovarianceStamped": PoseWithCovarianceStamped,
    "geometry_msgs/msg/PoseStamped": PoseStamped,
    "nav_msgs/msg/Odometry": Odometry,
}


class PoseSource(Protocol):
    """The other localiser's poses. Used in the executor's thread."""

    def at(self, stamp_ns: int, map_frame: str, frame: str) -> np.ndarray | None:
        """T_map_frame (4, 4) at a stamp, or None."""
        ...

    def missing(self, map_frame: str, frame: str) -> str:
        """The sentence for the user if ``at`` returns None."""
        ...

    def on_timer(self) -> None:
        """Called once a second."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class TransformPoses:
    """Poses from TF. Receiving all of /tf costs CPU time: a topic is cheaper."""

    def __init__(self, node: LifecycleNode) -> None:
        self._transforms = CameraMount("")
        self._listener = TransformListener(node, self._transforms)

    def at(self, stamp_ns: int, map_frame: str, frame: str) -> np.ndarray | None:
        """See PoseSource."""
        return self._transforms.between(map_frame, frame, stamp_ns)

    def missing(self, map_frame: str, frame: str) -> str:
        """See PoseSource."""
        return f"no transform {map_frame} -> {frame} in TF at the image's stamp"

    def on_timer(self) -> None:
        """See PoseSource."""
        self._listener.on_timer()

    def close(self) -> None:
        """See PoseSource."""
        self._listener.close()


class TopicPoses:
    """Poses from a topic, of the type that its publisher has."""

    def __init__(self, node: LifecycleNode, topic: str) -> None:
        """Raises ConfigError if the topic's name is invalid."""
        self._node = node
        self._topic = resolved(node, topic)
        self._track = PoseTrack(_GAP_NS, _KEEP)
        self._frame = self._child_frame = ""  # of the latest message
        self._subscription: Subscription | None = None

    def at(self, stamp_ns: int, map_frame: str, frame: str) -> np.ndarray | None:
        """See PoseSource. Messages that do not name their child frame are taken to be of the frame."""
        fits = self._frame == map_frame and self._child_frame in ("", frame)
        return self._track.at(stamp_ns) if fits else None

    def missing(self, map_frame: str, frame: str) -> str:
        """See PoseSource."""
        if self._subscription is None:
            return f"{self._topic} has no publisher of a pose"
        if self._frame not in ("", map_frame):
            return f"poses on {self._topic} are in frame '{self._frame}', ours in '{map_frame}'"
        if self._child_frame not in ("", frame):
            return f"poses on {self._topic} are of frame '{self._child_frame}', ours of '{frame}'"
        return f"no pose on {self._topic} near the image's stamp"

    def on_timer(self) -> None:
        """Subscribe, as soon as there is a publisher."""
        if self._subscription is not None:
            return
        found = [_POSES.get(info.topic_type) for info in self._node.get_publishers_info_by_topic(self._topic)]
        if message_type := next(filter(None, found), None):
            profile = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
            self._subscription = self._node.create_subscription(message_type, self._topic, self._store, profile)

    def close(self) -> None:
        """See PoseSource."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _store(self, message: Any) -> None:
        T = matrix_from_pose(message)
        if T is not None:
            self._frame = message.header.frame_id.lstrip("/")
            self._child_frame = getattr(message, "child_frame_id", "").lstrip("/")
            self._track.add(stamp_ns(message.header.stamp), T)


class Watchdog:
    """Compares each sure answer with the other's pose at the image's stamp.

    Published when the verdict changes and once a second, latched, as a diagnostic_msgs/DiagnosticStatus: OK if both
    agree, WARN if it cannot be told, ERROR if they disagree. Its values are the figures.
    """

    def __init__(self, node: LifecycleNode, params: NodeParams) -> None:
        """Raises ConfigError if the topic's name is invalid."""
        self._node = node
        self._base_frame = params.base_frame
        self._timeout_s = params.image_timeout
        self._comparison = PoseComparison()
        self._waiting: deque[Answer] = deque(maxlen=100)
        self._lock = threading.Lock()  # of the comparison and the answers that wait
        self._answered_s = self._checked_s = self._sent_s = 0.0
        self._stamp_ns = 0
        self._sent: Verdict | None = None
        topic = params.watchdog.topic
        self._source: PoseSource = TopicPoses(node, topic) if topic else TransformPoses(node)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(DiagnosticStatus, "~/watchdog", latched)
        self._timer = node.create_timer(_CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, answer: Answer) -> None:
        """Compare an answer a little later."""
        with self._lock:
            self._waiting.append(answer)

    def forget(self) -> None:
        """What was compared is of another map or clock."""
        with self._lock:
            self._waiting.clear()
            self._comparison.forget()

    def close(self) -> None:
        """Destroy timer, subscriptions and publisher."""
        self._node.destroy_timer(self._timer)
        self._source.close()
        self._node.destroy_publisher(self._publisher)

    def _check(self) -> None:
        """Compare the answers that have waited long enough, and publish."""
        now_s = time.monotonic()
        if now_s - self._checked_s >= _PERIOD_S:
            self._checked_s = now_s
            self._source.on_timer()
        with self._lock:
            while self._waiting and time.monotonic_ns() - self._waiting[0].arrived_ns >= _DELAY_NS:
                self._compare(self._waiting.popleft())
                self._answered_s = now_s
            if now_s - self._answered_s > self._timeout_s:
                self._comparison.forget()
            result = self._comparison.result
        if result.verdict != self._sent or now_s - self._sent_s >= _PERIOD_S:
            self._sent, self._sent_s = result.verdict, now_s
            self._publisher.publish(self._message(result))

    def _compare(self, answer: Answer) -> None:
        self._stamp_ns = answer.estimate.stamp_ns
        frames = answer.map_header.frame_id, self._base_frame or answer.image_header.frame_id
        T_map_other = None if answer.clock_problem else self._source.at(self._stamp_ns, *frames)
        missing = answer.clock_problem or ("" if T_map_other is not None else self._source.missing(*frames))
        self._comparison.take(answer.estimate, answer.T_camera_base, answer.spacing, T_map_other, missing)

    def _message(self, result: Comparison) -> DiagnosticStatus:
        for_s = (self._stamp_ns - result.since_ns) * 1e-9 if result.since_ns else 0.0
        words = result.reason or f"{result.distance:.1f} m apart, for {for_s:.1f} s"
        values = {
            "verdict": result.verdict.value,
            "probability of disagreement": f"{result.probability:.5f}",
            "distance [m]": f"{result.distance:.3f}",
            "turn [deg]": f"{np.degrees(result.turn):.1f}",
            "since [ns]": str(result.since_ns),
            "for [s]": f"{for_s:.3f}",
            "reason": result.reason,
        }
        return DiagnosticStatus(
            level=_LEVELS[result.verdict],
            name=f"{self._node.get_fully_qualified_name()}: watchdog",
            message=f"{result.verdict.value}: {words}",
            hardware_id="vpr_ros",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
