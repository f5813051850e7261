"""A lifecycle node that stays responsive during transitions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from vpr_ros.base.errors import VprError
from vpr_ros.ros.runtime.background import BackgroundTask

T = TypeVar("T")
_DESTROY_S = 2.0  # maximum wait for an executor that is stopping
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
    """Another transition or map change is in progress."""


class ResponsiveNode(LifecycleNode):
    """Runs each requested transition in its own thread.

    rclpy runs transitions in the executor's thread: building an engine or opening a large map would block services and
    diagnostics for minutes. Here services, parameters and timers stay available, and a second transition is refused at
    once. Entities are still destroyed in the executor's thread: if the executor is about to take from a destroyed
    entity, Humble never calls its callback group again.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._background: BackgroundTask[Any] | None = None
        self._slow_group = ReentrantCallbackGroup()  # a coroutine in the default group would block that group
        service: Any = self._service_change_state  # rclpy has no public access to it
        self._rclpy_change_state = service.callback
        service.callback, service.callback_group = self._change_state, self._slow_group
        self._slow_group.add_entity(service)

    @property
    def slow_group(self) -> ReentrantCallbackGroup:
        """Callback group for services whose callbacks await ``exclusively``."""
        return self._slow_group

    @property
    def operation(self) -> str:
        """Name of the transition or map change in progress, such as "configure"; empty if there is none."""
        background = self._background
        return "" if background is None or background.done else background.name

    @property
    def operation_s(self) -> float:
        """Seconds since the latest operation began; 0 if there was none."""
        background = self._background
        return 0.0 if background is None else time.monotonic() - background.since_s

    @property
    def state(self) -> str:
        """The lifecycle state: unconfigured, configuring, inactive, ..."""
        return str(self._state_machine.current_state[1])

    async def exclusively(self, name: str, work: Callable[[], T]) -> T:
        """Run work in a thread while the executor continues. Returns its result, or raises its exception.

        name: of the operation. Raises BusyError if another operation is in progress. Call it from a coroutine in the
        executor's thread.
        """
        if running := self.operation:
            raise BusyError(f"{name} is refused: {running} is still in progress; try again when it has ended")
        self._background = background = BackgroundTask(self, work, name)
        background.start()  # not before: the work asks which task it is
        return await background

    async def _change_state(self, request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        """Make a requested transition. The response reports a failure if it is not possible now."""
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
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_subscription(subscription)))

    def destroy_service(self, service: Service) -> bool:
        """As rclpy's, in the executor's thread."""
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_service(service)))

    def destroy_client(self, client: Client) -> bool:
        """As rclpy's, in the executor's thread."""
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_client(client)))

    def destroy_timer(self, timer: Timer) -> bool:
        """As rclpy's, in the executor's thread."""
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_timer(timer)))

    def destroy_publisher(self, publisher: Publisher) -> bool:
        """As rclpy's, in the executor's thread."""
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_publisher(publisher)))

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        """As rclpy's, in the executor's thread."""
        return bool(self.in_executor(lambda: super(ResponsiveNode, self).destroy_lifecycle_publisher(publisher)))

    def in_executor(self, work: Callable[[], T]) -> T | None:
        """Run work in the executor's thread and wait for it, if called from an operation's thread.

        None if it did not run in time.
        """
        background, executor = self._background, self.executor
        if executor is None or background is None or not background.is_current:
            return work()
        done = threading.Event()
        results: list[T] = []

        def do() -> None:
            results.append(work())
            done.set()

        executor.create_task(do)
        return results[0] if done.wait(_DESTROY_S) else None
