"""Every answer as a line of JSON in a file, as `vpr replay` writes them: what a live run is measured by afterwards."""

from __future__ import annotations

import time
from pathlib import Path

from vpr_ros.base.errors import ConfigError
from vpr_ros.evaluation.record import answer_from_estimate, answer_to_json
from vpr_ros.ros.outputs.answer import Answer


class AnswersFile:
    """Appends to a file; lines have no truth and no frame number (-1): whoever reads them joins both by stamp.

    Raises ConfigError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"answers_file: cannot write {path} ({error.strerror})") from error

    def publish(self, answer: Answer) -> None:
        """Write one line; its latency is from the image's callback until now."""
        latency_ms = (time.monotonic_ns() - answer.arrived_ns) / 1e6
        self._file.write(answer_to_json(answer_from_estimate(answer.estimate, -1, None, latency_ms)) + "\n")
        self._file.flush()

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
