"""A lifecycle node that goes on answering while a transition is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from vpr_ros.base.errors import VprError
from vpr_ros.ros.runtime.background import BackgroundTask

T = TypeVar("T")
_DESTROY_S = 2.0  # until an executor that is stopping is not waited for any more
_NAMES = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_CLEANUP: "cleanup",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: "shutdown",
    Transition.TRANSITION_INACTIVE_SHUTDOWN: "shutdown",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "shutdown",
}


class BusyError(VprError):
    """Something else has to end first."""


class ResponsiveNode(LifecycleNode):
    """Runs each transition that somebody asks for in a thread of its own.

    rclpy runs them in the executor's thread: a node that builds an engine or opens a large map would answer no service
    and report nothing for minutes. Here services, parameters and timers go on meanwhile, and a second transition is
    refused at once. What a transition destroys is destroyed in the executor's thread all the same: the executor may be
    about to take from it, and Humble's then never calls its callback group again.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._aside: BackgroundTask[Any] | None = None
        self._slow_group = ReentrantCallbackGroup()  # a coroutine in the default group would block that group
        service: Any = self._service_change_state  # of rclpy, which has no public way to it
        self._rclpy_change_state = service.callback
        service.callback, service.callback_group = self._change_state, self._slow_group
        self._slow_group.add_entity(service)

    @property
    def slow_group(self) -> ReentrantCallbackGroup:
        """For services whose callbacks are coroutines that wait for ``exclusively``."""
        return self._slow_group

    @property
    def doing(self) -> tuple[str, float]:
        """What is under way, such as "configure", and for how many seconds; "" if nothing is."""
        aside = self._aside
        return ("", 0.0) if aside is None or aside.done else (aside.name, time.monotonic() - aside.since_s)

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, configuring, inactive, ..."""
        return str(self._state_machine.current_state[1])

    async def exclusively(self, doing: str, work: Callable[[], T]) -> T:
        """Run work in a thread while the executor goes on; its result, or what it raises.

        Raises BusyError if other such work is under way. Call it from a coroutine in the executor's thread.
        """
        if under_way := self.doing[0]:
            raise BusyError(f"{doing} is refused: {under_way} is still under way; try again when it has ended")
        self._aside = aside = BackgroundTask(self, work, doing)
        return await aside

    async def _change_state(self, request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        """A transition that somebody asks for; the answer says that it failed if it is not possible now."""
        name = request.transition.label or _NAMES.get(request.transition.id, str(request.transition.id))
        state = self.state
        try:
            return await self.exclusively(name, lambda: self._rclpy_change_state(request, response))
        except BusyError as error:
            self.get_logger().error(str(error))
        except rclpy_implementation.RCLError:
            if self.context.ok():
                self.get_logger().error(f"transition {name} is refused: it is not possible from state {state}")
        response.success = False
        return response

    def destroy_subscription(self, subscription: Subscription) -> bool:
        """As rclpy's, in the executor's thread."""
        return self._in_executor(lambda: super(ResponsiveNode, self).destroy_subscription(subscription))

    def destroy_service(self, service: Service) -> bool:
        """As rclpy's, in the executor's thread."""
        return self._in_executor(lambda: super(ResponsiveNode, self).destroy_service(service))

    def destroy_timer(self, timer: Timer) -> bool:
        """As rclpy's, in the executor's thread."""
        return self._in_executor(lambda: super(ResponsiveNode, self).destroy_timer(timer))

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """As rclpy's, in the executor's thread."""
        return self._in_executor(lambda: super(ResponsiveNode, self).destroy_publisher(publisher))

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """As rclpy's, in the executor's thread."""
        return self._in_executor(lambda: super(ResponsiveNode, self).destroy_lifecycle_publisher(publisher))

    def _in_executor(self, work: Callable[[], bool]) -> bool:
        """Do something in the executor's thread and wait for it, if a transition's own thread asks for it."""
        aside, executor = self._aside, self.executor
        if executor is None or aside is None or aside.thread_id != threading.get_ident():
            return work()
        done = threading.Event()
        results: list[bool] = []

        def do() -> None:
            results.append(work())
            done.set()

        executor.create_task(do)
        return bool(done.wait(_DESTROY_S) and results[0])
