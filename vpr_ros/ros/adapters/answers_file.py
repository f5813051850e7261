"""Writes every answer to a file as a line of JSON, as `vpr replay` does, to evaluate a live run afterwards."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

from vpr_ros.base.errors import ConfigError
from vpr_ros.evaluation.record import answer_from_estimate, answer_to_json
from vpr_ros.ros.outputs.answer import Answer

logger = logging.getLogger(__name__)


class AnswersFile:
    """Appends answers to a file. They have no true pose and no frame number (-1): the reader joins both by stamp.

    Raises ConfigError if the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"answers_file: cannot write {path} ({error.strerror}); set another path") from error
        self.problem = ""  # why answers are left out, one sentence

    def publish(self, answer: Answer) -> None:
        """Write one line. Its latency is from the image's callback until now."""
        latency_ms = (time.monotonic_ns() - answer.arrived_ns) / 1e6
        try:
            self._file.write(answer_to_json(answer_from_estimate(answer.estimate, -1, None, latency_ms)) + "\n")
            self._file.flush()
        except OSError as error:  # a full disk is no reason to stop localising
            was_written = not self.problem
            self.problem = f"answers_file: cannot write {self._file.name} ({error.strerror}); answers are left out"
            if was_written:
                logger.error("%s", self.problem)
            return
        if self.problem:
            logger.info("answers_file: answers are written to %s again", self._file.name)
        self.problem = ""

    def forget(self) -> None:
        """No state to clear."""

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written is written again
            self._file.close()
