"""What the package's own code logs, on the node's logger and so on /rosout."""

from __future__ import annotations

import logging

from rclpy.node import Node

_CORE = logging.getLogger("vpr_ros")


class CoreLog(logging.Handler):
    """Hands the records of ``logging.getLogger("vpr_ros")`` to a node's logger until it is closed.

    last: the newest record's text at any level. While a map is opened it says how far that is.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(logging.DEBUG)
        self.last = ""
        self._logger = node.get_logger()
        self._level = _CORE.level
        _CORE.setLevel(logging.DEBUG)  # the node's own level decides what is shown
        _CORE.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """One record. rclpy wants a line of its own for each level."""
        text = self.last = " ".join(record.getMessage().split())
        if record.exc_info:
            text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def close(self) -> None:
        """Take no more records."""
        _CORE.removeHandler(self)
        _CORE.setLevel(self._level)
        super().close()
