"""The lifecycle node: passes images to a pipeline and publishes diagnostics."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.base.errors import explained
from vpr_ros.ros import param_server, params
from vpr_ros.ros.health import diagnostics
from vpr_ros.ros.health.core_log import CoreLog
from vpr_ros.ros.health.counters import Health
from vpr_ros.ros.health.diagnostics import Status
from vpr_ros.ros.input import qos, subscription_watch
from vpr_ros.ros.input.worker import Worker
from vpr_ros.ros.pipeline import Arrival
from vpr_ros.ros.runtime import starting
from vpr_ros.ros.runtime.interrupts import Interrupts
from vpr_ros.ros.runtime.lifecycle import ResponsiveNode
from vpr_ros.ros.wiring import WiredPipeline

_SWITCH_S = 1e-4  # Python's thread switch interval: how long the worker waits for the executor's thread
_BAD_IN_A_ROW = 5  # bad images after which diagnostics warn
_BUSY_S = 5.0  # with one image: any network is faster, and image_timeout may be shorter than a slow one takes
_SLOW = "check the disk, the accelerator and the adapters of other packages"
_LATELY_S = 5.0  # after a lost image, for which diagnostics warn
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LocalizerNode(ResponsiveNode):
    """Mode localize: images in, poses on a map out. Mode map: images in, a map and its loop closures out.

    Configure loads maps and network, activate subscribes to images. If configure fails, the node stays unconfigured,
    with the reason in the log and on /diagnostics.
    Transitions run in their own thread (see ResponsiveNode), so a callback reads each shared attribute once.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("localizer", automatically_declare_parameters_from_overrides=True, **node_options)
        self._core_log = CoreLog(self)
        param_server.declare(self)
        self._params = params.NodeParams()
        self._health = Health()
        self._failure = ""
        self._pipeline: WiredPipeline | None = None
        self._worker: Worker[Arrival] | None = None
        self._images: list[Subscription] = []
        self._active_since = 0.0
        self._lost, self._lost_s = "", 0.0  # a sentence about images that the transport lost, and when it last did
        self._diagnostics = self.create_publisher(diagnostics.DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.add_on_set_parameters_callback(self._refuse_changes)

    def declare_parameters(
        self, namespace: str, parameters: list[Any], ignore_override: bool = False
    ) -> list[Parameter]:
        """As rclpy's, which raises for an override of [] in the constructor, as an empty list has no type."""
        for number, item in enumerate(parameters):
            if item[1:2] == (None,):
                descriptor = item[2] if len(item) > 2 else ParameterDescriptor()
                descriptor.dynamic_typing = True
                parameters[number] = (*item[:2], descriptor)
        return super().declare_parameters(namespace, parameters, ignore_override)

    async def start(self) -> None:
        """Configure and activate if the parameter autostart is true. A task for the executor."""
        if self.get_parameter("autostart").value is not False:
            await self.exclusively("configure", self._configure_and_activate)

    async def stop(self) -> None:
        """Shut down as by a transition, which answers goals in progress. A task for the executor."""
        if self.state != "finalized":
            await self.exclusively("shutdown", self.trigger_shutdown)

    def _configure_and_activate(self) -> None:
        try:
            if self.trigger_configure() == SUCCESS:
                self.trigger_activate()
        except Exception:
            if self.context.ok():  # else the process is shutting down
                raise

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, open maps and network, create publishers and services."""
        self._core_log.last = ""
        try:
            self._params = param_server.read(self)
            self._health = Health()
            self._pipeline = WiredPipeline(self, self._params, self._health)
        except Exception as error:
            return self._failed("configure", error)
        self._failure = ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to images."""
        assert self._pipeline is not None
        try:
            self._take_images(self._pipeline)
        except Exception as error:
            self._stop()
            return self._failed("activate", error)
        return super().on_activate(state)

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        """A transition failed: keep the reason for /diagnostics, and log it."""
        if isinstance(error, (InvalidTopicNameException, InvalidNamespaceException)):
            self._failure = f"invalid topic name: {' '.join(str(error).split())}"
        else:
            self._failure = explained(error)
        if self.context.ok():  # else the process is shutting down
            self.get_logger().error(f"{transition} failed: {self._failure}")
            self.get_logger().info("the node waits unconfigured: correct it, then start again or call configure")
        return FAILURE

    def _take_images(self, pipeline: WiredPipeline) -> None:
        """Start the worker and subscribe."""
        self._worker = Worker(pipeline.process, pipeline.failed, pipeline.mode.queue_size, name="localizer")
        reliability = ReliabilityPolicy[self._params.reliability.upper()]
        self._active_since = time.monotonic()
        images = []
        for topic in self._params.image_topics:
            profile = qos.overridden(self, topic, QoSProfile(depth=self._params.queue_size, reliability=reliability))
            take, kind = partial(self._take_image, topic=topic), pipeline.message_types[topic]
            images.append(self._subscribed(kind, topic, take, profile))
            self._images = images
        names = ", ".join(subscription.topic_name for subscription in images)
        self.get_logger().info(f"{pipeline.mode.description} with images from {names}")

    def _subscribed(
        self, kind: type[Image] | type[CompressedImage], topic: str, take: Callable[[bytes], None], profile: QoSProfile
    ) -> Subscription:
        """A subscription that also hears of lost images, where the middleware tells.

        It is raw: the worker's thread deserialises images, and only those that are not dropped.
        """
        lost = SubscriptionEventCallbacks(message_lost=partial(self._lose_images, topic=topic))
        try:
            return self.create_subscription(kind, topic, take, profile, raw=True, event_callbacks=lost)
        except UnsupportedEventTypeError:
            return self.create_subscription(kind, topic, take, profile, raw=True)

    def _lose_images(self, event: Any, topic: str) -> None:
        self._health.count("images lost on the way", event.total_count_change)
        if self._params.reliability == "reliable":  # only overtaken by newer ones while the node was busy
            return
        self._lost = subscription_watch.lost(self.resolve_topic_name(topic), event.total_count)
        self._lost_s = time.monotonic()
        self.get_logger().warning(self._lost, throttle_duration_sec=30.0)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from images. Maps and network stay loaded."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release maps and network."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: return to unconfigured."""
        self._release()
        return super().on_error(state)

    def callback_failed(self, error: Exception) -> None:
        """Handle what a callback of the executor raised: count it, log it, continue."""
        self._health.count("internal errors")
        text = "".join(traceback.format_exception(error))
        self.get_logger().error(f"internal error in a callback: {text}", throttle_duration_sec=5.0)

    def destroy_node(self) -> None:
        """Stop the worker, close the maps, then destroy the node."""
        self._release()
        self._core_log.close()
        super().destroy_node()

    def _take_image(self, serialized: bytes, topic: str) -> None:
        self._health.image_arrived(topic)
        worker, pipeline = self._worker, self._pipeline
        if worker is not None and pipeline is not None:
            worker.offer(pipeline.arrival(serialized, topic), topic)

    def _stop(self) -> None:
        images, self._images = self._images, []
        for subscription in images:
            self.destroy_subscription(subscription)
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _release(self) -> None:
        self._stop()
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            pipeline.close()
            del pipeline
            gc.collect()  # reference cycles with callbacks keep hundreds of megabytes of map and network alive

    def _refuse_changes(self, changes: list[Parameter]) -> SetParametersResult:
        """Refuse values that do not fit, and changes after configure, which would have no effect."""
        ours = [name for name, _, _ in params.leaves()]
        reason = param_server.refusal(changes)
        if (
            not reason
            and (self._pipeline is not None or self.operation)
            and any(c.name in ours or c.name.startswith(qos.PREFIX) for c in changes)
        ):
            reason = "configure reads the parameters: clean up first"
        return SetParametersResult(successful=not reason, reason=reason)

    def _report(self) -> None:
        """Once a second: check that images arrive, and publish /diagnostics."""
        condition, pipeline, worker = self._condition(), self._pipeline, self._worker
        values = {"state": self.state}
        if pipeline is not None:
            if not self.operation:
                pipeline.on_timer()
            values |= {
                **pipeline.mode.values(),
                "dropped (busy)": str(worker.dropped if worker else 0),
                **self._health.figures(),
            }
        message = diagnostics.diagnostic_array(
            self.get_clock().now().to_msg(), self.get_fully_qualified_name(), condition, values
        )
        self._diagnostics.publish(message)

    def _condition(self) -> Status:
        """The node's state in one sentence."""
        if operation := self.operation:
            step = f": {self._core_log.last}" if self._core_log.last else ""
            return Status(diagnostics.OK, f"{operation} in progress for {self.operation_s:.0f} s{step}")
        if self._failure:
            return Status(diagnostics.ERROR, self._failure)
        pipeline, images = self._pipeline, self._images
        if pipeline is None or not images:
            return Status(diagnostics.OK, self.state)
        for topic, subscription in zip(self._params.image_topics, images, strict=False):
            quiet_s = time.monotonic() - self._active_since
            if (since_image := self._health.silence_s(topic)) is not None:
                quiet_s = min(quiet_s, since_image)
            if quiet_s >= self._params.image_timeout:
                kind = subscription_watch.type_name(pipeline.message_types[topic])
                sentence = subscription_watch.silence(self, subscription, kind, quiet_s)
                self.get_logger().warning(sentence, throttle_duration_sec=30.0)
                return Status(diagnostics.WARN, sentence)
        worker = self._worker
        if worker is not None and (busy_s := worker.busy_s) >= max(_BUSY_S, self._params.image_timeout):
            return Status(
                diagnostics.WARN, f"an image has been in progress for {busy_s:.0f} s, and others wait: {_SLOW}"
            )
        camera, bad, why = self._health.bad_in_a_row
        if bad >= _BAD_IN_A_ROW:
            of = f" of {camera}" if camera else ""
            return Status(diagnostics.WARN, f"the last {bad} images{of} could not be used: {why}")
        if pipeline.problem:
            return Status(diagnostics.WARN, pipeline.problem)
        if pipeline.clock_problem:
            return Status(diagnostics.WARN, f"{self._health.last_answer}; {pipeline.clock_problem}")
        for subscription in images:
            if sentence := subscription_watch.several(self, subscription.topic_name):
                self.get_logger().warning(sentence, throttle_duration_sec=30.0)
                return Status(diagnostics.WARN, f"{self._health.last_answer}; {sentence}")
        if self._lost and time.monotonic() - self._lost_s < _LATELY_S:
            return Status(diagnostics.WARN, f"{self._health.last_answer}; {self._lost}")
        return Status(diagnostics.OK, self._health.last_answer)


def run(interrupts: Interrupts) -> None:
    """Run the node until SIGINT or SIGTERM."""
    interrupts.begin()
    starting.init("localize", SignalHandlerOptions.NO)  # goals in progress are answered first
    sys.setswitchinterval(_SWITCH_S)
    node = None
    try:
        node = LocalizerNode()
        _spin(node, interrupts)
    except Exception:
        if rclpy.ok() and not interrupts.asked:
            raise
    if node is not None and not node.operation:
        node.destroy_node()
        rclpy.try_shutdown()
        interrupts.end()
    else:  # a thread is inside a library and cannot be stopped; map files are safe at any moment
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _spin(node: LocalizerNode, interrupts: Interrupts) -> None:
    """Start the node, spin until shutdown, and stop it. What one callback raises does not end the loop."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.create_task(node.start)
    interrupts.wake = partial(executor.create_task, lambda: None)  # executor.wake only waits anew
    while rclpy.ok() and not interrupts.asked:
        try:
            executor.spin_once()
        except ExternalShutdownException:
            return
        except rclpy_implementation.InvalidHandle:
            pass  # an entity was destroyed just before its callback
        except rclpy_implementation.RCLError as error:
            if rclpy.ok():
                node.get_logger().error(f"refused: {' '.join(str(error).split())}")
        except Exception as error:  # perhaps of an adapter's own timer
            if rclpy.ok():
                node.callback_failed(error)
    if rclpy.ok() and not node.operation:
        executor.spin_until_future_complete(executor.create_task(node.stop))
