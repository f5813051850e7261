"""Guards the node against adapters of other packages."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vpr_ros.ros.health.condition import Log


class GuardedAdapter:
    """An adapter whose exceptions are logged with its name: the first one with its traceback.

    The other outputs of the same image are still published.
    """

    def __init__(self, name: str, adapter: Any, log: Log) -> None:
        self._name, self._adapter, self._log = name, adapter, log
        self._traceback_shown = False

    @property
    def problem(self) -> str:
        """What the adapter says is wrong, one sentence; empty if it says nothing, or no text."""
        with suppress(Exception):
            found = getattr(self._adapter, "problem", "")
            return found if isinstance(found, str) else ""
        return ""

    def __getattr__(self, method: str) -> Callable[..., None]:
        call = getattr(self._adapter, method)

        def guarded(*arguments: Any) -> None:
            try:
                call(*arguments)
            except (Exception, SystemExit) as error:
                text = repr(error) if self._traceback_shown else traceback.format_exc()
                self._traceback_shown = True
                self._log.error(f"adapter '{self._name}' failed in {method}: {text}", throttle_duration_sec=5.0)

        return guarded
