"""Forwards Python log records of vpr_ros to the node's logger, and so to /rosout."""

from __future__ import annotations

import logging
import sys

from rclpy.node import Node

_CORE = logging.getLogger("vpr_ros")


class CoreLog(logging.Handler):
    """Forwards the records of ``logging.getLogger("vpr_ros")`` to a node's logger until it is closed.

    last: text of the newest record, of any level. While a map is opened it is the progress.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(logging.DEBUG)
        self.last = ""
        self._context = node.context
        self._logger = node.get_logger()
        self._level = _CORE.level
        _CORE.setLevel(logging.DEBUG)  # the node's own level decides what is shown
        _CORE.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record. rclpy requires a separate source line for each level."""
        text = self.last = " ".join(record.getMessage().split())
        if record.exc_info:
            text = self.format(record)
        if not self._context.ok():  # the process is ending, and /rosout is closed
            if record.levelno >= logging.INFO:
                print(f"[{record.levelname}] [{self._logger.name}]: {text}", file=sys.stderr)
        elif record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def close(self) -> None:
        """Stop forwarding."""
        _CORE.removeHandler(self)
        _CORE.setLevel(self._level)
        super().close()
