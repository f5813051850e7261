"""Services that answer whatever happens: a fault of the program costs one answer, not the robot its node."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.service import Service


def create_service(node: Node, kind: type, name: str, answer: Callable[[Any, Any], Any], **options: Any) -> Service:
    """As rclpy's; where ``answer`` raises, the traceback is logged and the response says that it failed.

    answer: (request, response) -> response, a coroutine too. A response without ``success`` has to be set to a failure
    before anything can raise.
    """

    async def guarded(request: Any, response: Any) -> Any:
        try:
            answered = answer(request, response)
            return await answered if inspect.isawaitable(answered) else answered
        except Exception as error:
            node.get_logger().error(f"{name} failed: {traceback.format_exc()}")
            if hasattr(response, "success"):
                response.success, response.message = False, f"internal error: {error!r}"
            return response

    return node.create_service(kind, name, guarded, **options)
