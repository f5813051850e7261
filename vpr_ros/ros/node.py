"""The node: a lifecycle node that takes images and hands them to a pipeline, and says how it is."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.executors import ExternalShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.errors import VprError
from vpr_ros.ros import diagnostics, params, starting, subscription_watch
from vpr_ros.ros.diagnostics import Condition
from vpr_ros.ros.health import Health
from vpr_ros.ros.pipeline import Arrival, Pipeline
from vpr_ros.ros.worker import Worker

_SWITCH_S = 1e-4  # an image waits no longer than this for Python while the executor tidies up after its callback
_BAD_IN_A_ROW = 5  # bad images after which diagnostics warn
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class LocalizerNode(LifecycleNode):
    """Images in; poses on a map, or a map that grows and the loops it closes, out. The parameter mode says which.

    unconfigured -> (configure: maps and network are loaded) -> inactive -> (activate: images are taken) -> active.
    Where configure fails the node stays unconfigured, with the reason in the log and on /diagnostics.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("localizer", automatically_declare_parameters_from_overrides=True, **node_options)
        params.declare(self)
        self._params = params.NodeParams()
        self._health = Health()
        self._failure = ""
        self._pipeline: Pipeline | None = None
        self._worker: Worker[Arrival] | None = None
        self._images: Subscription | None = None
        self._active_since = 0.0
        self._diagnostics = self.create_publisher(diagnostics.DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.add_on_set_parameters_callback(self._refuse_changes)

    def start(self) -> None:
        """Configure and activate, where the parameter autostart says so."""
        if self.get_parameter("autostart").value and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, open maps and network, create what is published and served."""
        try:
            self._params = params.read(self)
            self._health = Health()
            self._pipeline = Pipeline(self, self._params, self._health)
        except Exception as error:
            return self._failed("configure", error)
        self._failure = ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take images."""
        assert self._pipeline is not None
        try:
            self._take_images(self._pipeline)
        except Exception as error:
            self._stop()
            return self._failed("activate", error)
        return super().on_activate(state)

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        """A transition that cannot be made: why, in the log and on /diagnostics."""
        if isinstance(error, VprError):
            self._failure = str(error)
        elif isinstance(error, (InvalidTopicNameException, InvalidNamespaceException)):
            self._failure = f"a topic's name is none: {' '.join(str(error).split())}"
        else:
            self._failure = traceback.format_exc()
        self.get_logger().error(f"{transition} failed: {self._failure}")
        return FAILURE

    def _take_images(self, pipeline: Pipeline) -> None:
        """Start the worker and subscribe."""
        self._worker = Worker(pipeline.process, pipeline.failed, pipeline.role.room, name="localizer")
        reliability = ReliabilityPolicy[self._params.reliability.upper()]
        qos = QoSProfile(depth=self._params.depth, reliability=reliability)
        kind = CompressedImage if self._params.image_is_compressed else Image
        # raw: an image that is dropped is never taken apart, and the others are in the worker's thread.
        self._images = self.create_subscription(kind, self._params.image, self._take_image, qos, raw=True)
        self._active_since = time.monotonic()
        self.get_logger().info(f"{pipeline.role.doing} with images from {self._images.topic_name}")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no more images; maps and network stay loaded."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of maps and network."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop from whatever state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition threw: back to unconfigured."""
        self._release()
        return super().on_error(state)

    def destroy_node(self) -> None:
        """Stop the worker, close the maps, then destroy the node."""
        self._release()
        super().destroy_node()

    def _take_image(self, serialized: bytes) -> None:
        self._health.image_arrived()
        if self._worker is not None:
            self._worker.offer(Arrival(serialized, time.monotonic_ns()))

    def _stop(self) -> None:
        if self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _release(self) -> None:
        self._stop()
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def _refuse_changes(self, changes: list[Parameter]) -> SetParametersResult:
        """Parameters are read by configure; a change that would do nothing is refused instead."""
        ours = [name for name, _, _ in params.leaves()]
        if self._pipeline is not None and any(change.name in ours for change in changes):
            return SetParametersResult(successful=False, reason="parameters are read by configure: clean up first")
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        """Once a second: look whether images come, and publish /diagnostics."""
        condition = self._condition()
        values = {"state": self._state_machine.current_state[1]}
        if self._pipeline is not None:
            self._pipeline.tend()
            values |= {
                **self._pipeline.role.values(),
                "dropped (busy)": str(self._worker.dropped if self._worker else 0),
                **self._health.figures(),
            }
        message = diagnostics.diagnostic_array(
            self.get_clock().now().to_msg(), self.get_fully_qualified_name(), condition, values
        )
        self._diagnostics.publish(message)

    def _condition(self) -> Condition:
        """How the node is, in one sentence."""
        if self._failure:
            return Condition(diagnostics.ERROR, self._failure)
        if self._pipeline is None or self._images is None:
            return Condition(diagnostics.OK, self._state_machine.current_state[1])
        quiet_s = time.monotonic() - self._active_since
        if (since_image := self._health.silence_s) is not None:
            quiet_s = min(quiet_s, since_image)
        if quiet_s >= self._params.image_timeout:
            kind = subscription_watch.IMAGE_TYPES[self._params.image_is_compressed]
            sentence = subscription_watch.silence(self, self._images, kind, quiet_s)
            self.get_logger().warning(sentence, throttle_duration_sec=30.0)
            return Condition(diagnostics.WARN, sentence)
        if self._pipeline.trouble:
            return Condition(diagnostics.WARN, self._pipeline.trouble)
        if self._health.bad_in_a_row >= _BAD_IN_A_ROW:
            return Condition(diagnostics.WARN, f"the last {self._health.bad_in_a_row} images were bad and dropped")
        return Condition(diagnostics.OK, self._health.last_answer)


def _spin(node: LocalizerNode) -> None:
    """Spin until shutdown; a transition that is not allowed now, or an answer nobody can be given, stops nothing."""
    while rclpy.ok():
        try:
            rclpy.spin(node)
        except (rclpy_implementation.RCLError, rclpy_implementation.InvalidHandle) as error:
            if not rclpy.ok():
                return
            node.get_logger().error(f"refused: {' '.join(str(error).split())}")


def main(args: list[str] | None = None) -> None:
    """Run the node until it is told to stop."""
    # rclpy ends the spinning itself; a KeyboardInterrupt besides could strike anywhere, in a finalizer even.
    signal.signal(signal.SIGINT, lambda *_: None)
    starting.init("localize", args)
    sys.setswitchinterval(_SWITCH_S)
    node = LocalizerNode()
    try:
        node.start()
        _spin(node)
    except ExternalShutdownException:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
