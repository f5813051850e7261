"""~/status: whether the pose can be relied on, latched, for those who do not weigh answers themselves."""

from __future__ import annotations

import threading
import time

from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from vpr_ros.base.messages import stamp_ns
from vpr_ros.ros import typed_messages
from vpr_ros.ros.outputs.answer import Answer
from vpr_ros.ros.outputs.status import State, Status, StatusTracker
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_CHECK_S, _PERIOD_S = 0.2, 1.0  # a change by the passing of time is published this late at most; sent again after
# OK: rely on the pose. WARN: there is a pose, but it is not sure. ERROR: no pose.
_LEVELS = {State.LOCALIZED: DiagnosticStatus.OK, State.UNSURE: DiagnosticStatus.WARN}


class StatusOutput:
    """Publishes the state when it changes and once a second, also while the node is inactive.

    ~/status is a vpr_msgs/Status, if that package is built. ~/status/diagnostic says the same as a
    diagnostic_msgs/DiagnosticStatus.
    """

    def __init__(self, node: ResponsiveNode, timeout_s: float) -> None:
        """timeout_s: see StatusTracker."""
        self._node = node
        self._tracker = StatusTracker(timeout_s)
        self._lock = threading.Lock()  # the worker's thread and the timer both publish
        self._answers: dict[str, tuple[Header, int, bool]] = {}  # of each camera: header, arrival, another clock
        self._sent: tuple[State, float] | None = None
        self._diagnostic = node.create_publisher(DiagnosticStatus, "~/status/diagnostic", LATCHED)
        self._typed: Publisher | None = None
        if typed_messages.available():
            from vpr_msgs.msg import Status as StatusMessage  # type: ignore[attr-defined]

            self._message_type = StatusMessage
            self._typed = node.create_publisher(StatusMessage, "~/status", LATCHED)
        self._timer = node.create_timer(_CHECK_S, self._update, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, answer: Answer) -> None:
        """Take an answer."""
        with self._lock:
            self._tracker.answered(answer.estimate, time.monotonic(), answer.obstacle, answer.gap, answer.camera)
            self._answers[answer.camera] = answer.map_header, answer.arrived_ns, bool(answer.clock_problem)
        self._update()

    def leave_out(self, camera: str, why: str) -> None:
        """Name one of several cameras, whose image cannot be used."""
        with self._lock:
            self._tracker.left_out(camera, why, time.monotonic())
        self._update()

    def forget(self) -> None:
        """Nothing is known until the next answer."""
        with self._lock:
            self._tracker.forget()
            self._answers.clear()
        self._update()

    def close(self) -> None:
        """Say a last time that nothing is known, and destroy timer and publishers."""
        self._node.destroy_timer(self._timer)
        if self._node.context.ok():
            self._update(active=False)
        for publisher in filter(None, (self._diagnostic, self._typed)):
            self._node.destroy_publisher(publisher)

    def _update(self, active: bool | None = None) -> None:
        """Publish if the state has changed, or a second has passed."""
        if active is None:
            active = self._node.state in ("activating", "active")
        with self._lock:
            now_s = time.monotonic()
            status = self._tracker.at(now_s, active)
            if self._sent is not None and self._sent[0] == status.state and now_s - self._sent[1] < _PERIOD_S:
                return
            self._sent = status.state, now_s
            self._send(status)

    def _send(self, status: Status) -> None:
        header, arrived_ns, other_clock = self._answers.get(status.camera, (Header(), 0, False))
        age_ns = self._age_ns(header, arrived_ns, other_clock)
        values = {
            "state": status.state.name,
            "probability": f"{status.probability:.3f}",
            "reason": status.reason,
            "age [s]": f"{age_ns * 1e-9:.3f}",
            "stamp [ns]": str(stamp_ns(header.stamp)),
            "frame": header.frame_id,
        }
        diagnostic = DiagnosticStatus(
            level=_LEVELS.get(status.state, DiagnosticStatus.ERROR),
            name=f"{self._node.get_fully_qualified_name()}: status",
            message=f"{status.state.name}: {status.reason}",
            hardware_id="vpr_ros",
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        self._diagnostic.publish(diagnostic)
        if self._typed is not None:
            message = self._message_type(
                header=header,
                state=int(status.state),
                probability=float(status.probability),
                reason=status.reason,
                age=Duration(sec=age_ns // 10**9, nanosec=age_ns % 10**9),
            )
            self._typed.publish(message)

    def _age_ns(self, header: Header, arrived_ns: int, other_clock: bool) -> int:
        """Time since an answered image was taken, or since it arrived if its stamp is of another clock."""
        if not arrived_ns:
            return 0
        since_arrival_ns = time.monotonic_ns() - arrived_ns
        since_stamp_ns = self._node.get_clock().now().nanoseconds - stamp_ns(header.stamp)
        return max(since_arrival_ns if other_clock else since_stamp_ns, 0)
