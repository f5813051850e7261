"""~/localize: an action that waits until the pose is sure. Needs vpr_msgs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from vpr_msgs.action import Localize  # type: ignore[attr-defined]
from vpr_ros.base import covariance
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import SURE, Answer
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode

_CHECK_S = 0.1  # a timeout, a cancellation or the end of images is noticed this late at most
_SENDING_S = 0.2  # time for a result to be sent before its server is destroyed


@dataclass(eq=False)
class _Goal:
    """A goal that is being worked on.

    since_ns, until_ns: monotonic clock: images that arrived later count; its end, None without a limit.
    last: what the latest image said.
    """

    handle: ServerGoalHandle
    probability: float
    since_ns: int
    until_ns: int | None
    timeout_s: float
    result: Future
    last: str = "no image has been answered"


class LocalizeAction:
    """Serves one goal at a time; a new one replaces it. Takes answers as an adapter does.

    A goal ends when a pose is sure enough, at its timeout, when it is cancelled or replaced, and when the node is
    deactivated or shut down. If earlier images are forgotten, it continues with later ones. All but ``publish`` and
    ``forget`` run in the executor's thread.
    """

    def __init__(self, node: ResponsiveNode) -> None:
        self._node = node
        self._goal: _Goal | None = None
        self._server = ActionServer(
            node,
            Localize,
            "~/localize",
            execute_callback=lambda _: Localize.Result(),  # not used: each goal is executed with a callback of its own
            handle_accepted_callback=self._begin,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=node.slow_group,
        )
        self._timer = node.create_timer(_CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, answer: Answer) -> None:
        """Take an answer."""
        if self._goal is not None and self._node.executor is not None:
            self._node.executor.create_task(self._take, answer)

    def forget(self) -> None:
        """Begin the goal again: another map, ~/relocalize or a clock that jumped made earlier images void."""
        goal = self._goal
        if goal is not None:
            goal.since_ns = time.monotonic_ns()
            goal.last = "earlier images were forgotten, and none has been answered since"

    def close(self) -> None:
        """End the goal, then destroy timer and server."""
        if (goal := self._goal) is not None:
            self._node.in_executor(partial(self._end, goal, "the localiser was shut down"))
            time.sleep(_SENDING_S)
        self._node.destroy_timer(self._timer)
        self._node.in_executor(self._server.destroy)

    def _begin(self, handle: ServerGoalHandle) -> None:
        """Work on a goal, and no longer on the one before."""
        if self._goal is not None:
            self._end(self._goal, "a new goal has replaced this one")
        now_ns, asked = time.monotonic_ns(), handle.request
        timeout_ns = asked.timeout.sec * 10**9 + asked.timeout.nanosec
        until_ns = now_ns + timeout_ns if timeout_ns else None
        result = Future(executor=self._node.executor)
        goal = self._goal = _Goal(handle, asked.probability or SURE, now_ns, until_ns, timeout_ns * 1e-9, result)

        async def wait(_: ServerGoalHandle) -> Localize.Result:
            return await result

        handle.execute(wait)
        if not 0.0 < goal.probability <= 1.0:
            self._end(goal, f"the probability is {goal.probability}: ask for one above 0 and at most 1")
        elif timeout_ns < 0:
            self._end(goal, "the timeout is negative: set 0 for no limit")
        self._check()

    def _check(self) -> None:
        """End the goal if its time is over, or it was cancelled."""
        goal = self._goal
        if goal is None:
            return
        if goal.handle.is_cancel_requested:
            self._end(goal, "cancelled")
        elif self._node.state not in ("activating", "active"):
            self._end(goal, "the node is not active, so it takes no images")
        elif goal.until_ns is not None and time.monotonic_ns() >= goal.until_ns:
            self._end(goal, f"no pose of probability {goal.probability:.2f} within {goal.timeout_s:.1f} s: {goal.last}")

    def _take(self, answer: Answer) -> None:
        """Send what an image says as feedback, and end the goal if that is sure enough."""
        goal = self._goal
        if goal is None or answer.arrived_ns < goal.since_ns or not goal.handle.is_active:
            return
        estimate, T_camera_base = answer.estimate, answer.T_camera_base
        goal.last = _in_words(answer)
        feedback = Localize.Feedback(header=answer.map_header, off_map_probability=float(estimate.off_map_probability))
        if T_camera_base is not None:
            for hypothesis in estimate.hypotheses:
                pose = covariance.moved(hypothesis.T_map_camera, hypothesis.covariance, T_camera_base)
                feedback.hypotheses.append(convert.pose_with_covariance(*pose))
                feedback.probabilities.append(float(hypothesis.probability))
        goal.handle.publish_feedback(feedback)
        best = estimate.best
        if best is None or T_camera_base is None or answer.obstacle or best.probability < goal.probability:
            return
        message = convert.pose_of(best, answer.map_header, T_camera_base)
        self._end(goal, "", probability=float(best.probability), pose=message)

    def _end(
        self, goal: _Goal, why_not: str, probability: float = 0.0, pose: PoseWithCovarianceStamped | None = None
    ) -> None:
        """End a goal: with a pose, or with the reason why not."""
        if self._goal is goal:
            self._goal = None
        if goal.result.done() or not self._node.context.ok():  # ended already, or the process is ending
            return
        if pose is not None:
            goal.handle.succeed()
        elif goal.handle.is_cancel_requested:
            goal.handle.canceled()
        else:
            goal.handle.abort()
        result = Localize.Result(success=pose is not None, message=why_not, probability=probability)
        result.pose = pose or result.pose
        goal.result.set_result(result)


def _in_words(answer: Answer) -> str:
    estimate = answer.estimate
    if answer.obstacle:
        return answer.obstacle
    if estimate.best is None:
        return f"the robot is not on this map ({estimate.off_map_probability:.0%})"
    return f"the best pose has a probability of {estimate.best.probability:.0%}"
