"""~/save_map: a whole copy of the map that grows, while it grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from vpr_ros.base.errors import VprError
from vpr_ros.ros.runtime.background import BackgroundTask
from vpr_ros.ros.services.serving import create_service

_ANSWER_S = 0.5  # for the answer to be sent, once the copy is whole


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
        self._copying: BackgroundTask[None] | None = None
        self._answered = threading.Event()
        self._answered.set()
        group = ReentrantCallbackGroup()  # its own: the node's goes on meanwhile
        self._service = create_service(node, Trigger, "~/save_map", self._answer, callback_group=group)

    def close(self) -> None:
        """Destroy the service; a copy in the making becomes whole first, and its caller still gets the answer."""
        if self._copying is not None:
            self._copying.join()
            self._answered.wait(_ANSWER_S)
        executor = self._node.executor
        if executor is None:
            self._node.destroy_service(self._service)
        else:  # after the answer that may be on its way
            executor.create_task(self._node.destroy_service, self._service)

    async def _answer(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._answered.is_set():
            response.message = "another copy is being made: ask again when it is whole"
            return response
        moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        path = self._folder / f"{self._session.stem}-{moment}{self._session.suffix}"
        self._answered.clear()
        try:
            self._copying = BackgroundTask(self._node, lambda: self._save(path), "save_map")
            await self._copying
            response.success, response.message = True, str(path)
            self._node.get_logger().info(f"saved {path}")
        except Exception as error:  # the robot keeps mapping whatever becomes of the copy
            response.message = str(error) if isinstance(error, VprError) else repr(error)
            self._node.get_logger().error(f"save_map: {response.message}")
        finally:
            self._answered.set()
        return response
