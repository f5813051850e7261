"""~/save_map: a whole copy of the map that grows, while it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from vpr_ros.errors import VprError
from vpr_ros.ros.serving import create_service

_LOOK_S = 0.005  # how long the executor waits for the copy before it sees to odometry again


class SaveMapService:
    """Copies in a thread of its own: a large map takes a minute, in which odometry must not be lost.

    The answer comes when the copy is whole; its message is the copy's path.
    """

    def __init__(self, node: LifecycleNode, save: Callable[[Path], None], session: Path, folder: Path) -> None:
        """save: writes a copy, from any thread. session: names the copies, by the time of the call."""
        self._node = node
        self._save = save
        self._session = session
        self._folder = folder
        self._copying: threading.Thread | None = None
        group = MutuallyExclusiveCallbackGroup()  # its own: the node's goes on meanwhile
        self._service = create_service(node, Trigger, "~/save_map", self._answer, callback_group=group)

    def close(self) -> None:
        """Destroy the service; a copy in the making becomes whole first, and its caller still gets the answer."""
        executor = self._node.executor
        if self._copying is None or executor is None:
            self._node.destroy_service(self._service)
            return
        self._copying.join()
        executor.create_task(self._end())

    async def _end(self) -> None:
        """Destroy the service when the answer is on its way."""
        while self._copying is not None:
            await _Turn()
        self._node.destroy_service(self._service)

    async def _answer(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        path = self._folder / f"{self._session.stem}-{time.strftime('%Y%m%d-%H%M%S')}{self._session.suffix}"
        failures: list[str] = []

        def copy() -> None:
            try:
                self._save(path)
            except Exception as error:  # the robot keeps mapping whatever becomes of the copy
                failures.append(str(error) if isinstance(error, VprError) else repr(error))

        copying = threading.Thread(target=copy, name="save_map", daemon=True)
        copying.start()
        self._copying = copying
        while copying.is_alive():
            copying.join(_LOOK_S)
            await _Turn()
        self._copying = None
        response.success = not failures
        response.message = failures[0] if failures else str(path)
        if failures:
            self._node.get_logger().error(f"save_map: {failures[0]}")
        else:
            self._node.get_logger().info(f"saved {path}")
        return response


class _Turn:
    """Awaited: everybody else's turn once."""

    def __await__(self) -> Generator[None, None, None]:
        yield
