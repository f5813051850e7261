"""What stays wrong although images come."""

from __future__ import annotations

import time

from rclpy.node import Node

_PATIENCE_S = 2.0  # a transform, odometry or a calibration may only be a little late


class Trouble:
    """One thing that may go wrong: in the log once it has lasted a while, and again when it is over."""

    def __init__(self, node: Node, over: str) -> None:
        """over: what the log says when it has passed."""
        self._node = node
        self._over = over
        self._sentence = ""
        self._since_s = 0.0
        self._logged = False

    @property
    def lasting(self) -> str:
        """What is wrong, as one sentence, once it has lasted; else empty."""
        return self._sentence if time.monotonic() - self._since_s > _PATIENCE_S else ""

    def report(self, sentence: str) -> None:
        """How things are with the image now: what is wrong, or empty."""
        if sentence != self._sentence:
            self._sentence, self._since_s = sentence, time.monotonic()
            if self._logged and not sentence:
                self._node.get_logger().info(self._over)
            self._logged = False
        if self.lasting and not self._logged:
            self._node.get_logger().error(sentence)
            self._logged = True
