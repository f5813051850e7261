"""~/save_map: a consistent copy of the session's map while mapping continues."""

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

_ANSWER_S = 0.5  # maximum wait for the response to be sent, once the copy is complete


class SaveMapService:
    """Copies in its own thread: a large map takes a minute, during which no odometry must be lost.

    The response is sent when the copy is complete; its message is the copy's path.
    """

    def __init__(self, node: LifecycleNode, save: Callable[[Path], None], session: Path, folder: Path) -> None:
        """save: writes a copy, from any thread. session: path of the map; a copy's name adds the time of the call.

        folder: of the copies.
        """
        self._node = node
        self._save = save
        self._session = session
        self._folder = folder
        self._copying: BackgroundTask[None] | None = None
        self._answered = threading.Event()
        self._answered.set()
        group = ReentrantCallbackGroup()  # its own group, so that the node's callbacks are not blocked
        self._service = create_service(node, Trigger, "~/save_map", self._answer, callback_group=group)

    def close(self) -> None:
        """Destroy the service. A copy in progress is completed first, and its caller gets the response."""
        if self._copying is not None:
            self._copying.join()
            self._answered.wait(_ANSWER_S)
        executor = self._node.executor
        if executor is None:
            self._node.destroy_service(self._service)
        else:  # after a response that may be on its way
            executor.create_task(self._node.destroy_service, self._service)

    async def _answer(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._answered.is_set():
            response.message = "another copy is in progress: call again when it is complete"
            return response
        time_text = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        path = self._folder.absolute() / f"{self._session.stem}-{time_text}{self._session.suffix}"
        self._answered.clear()
        try:
            self._copying = BackgroundTask(self._node, lambda: self._save(path), "save_map")
            self._copying.start()
            await self._copying
            response.success, response.message = True, str(path)
            self._node.get_logger().info(f"saved {path}")
        except Exception as error:  # a failed copy must not stop mapping
            response.message = str(error) if isinstance(error, VprError) else repr(error)
            self._node.get_logger().error(f"save_map: {response.message}")
        finally:
            self._answered.set()
        return response
