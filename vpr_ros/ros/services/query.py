"""~/query: which places of the map look like an image that somebody sends. Needs vpr_msgs."""

from __future__ import annotations

import time
from typing import Protocol

from rclpy.lifecycle import LifecycleNode

from vpr_msgs.srv import Query  # type: ignore[attr-defined]
from vpr_ros.base.errors import VprError
from vpr_ros.base.image_messages import decode_message
from vpr_ros.base.messages import stamp_ns
from vpr_ros.ros.adapters.vpr_msgs import matches_message
from vpr_ros.ros.input.mount import CameraMount
from vpr_ros.ros.modes.mode import ImageSample
from vpr_ros.ros.outputs.answer import Answer
from vpr_ros.ros.services.serving import create_service


class QueryHandler(Protocol):
    """Answers a query on a map."""

    def lookup(self, sample: ImageSample) -> Answer:
        """The places that an image resembles. Nothing is remembered of it."""
        ...


class QueryService:
    """Answers from one image alone: does not use or update the temporal filter."""

    def __init__(self, node: LifecycleNode, handler: QueryHandler, mount: CameraMount) -> None:
        self._handler = handler
        self._mount = mount
        self.service = create_service(node, Query, "~/query", self._answer)

    def _answer(self, request: Query.Request, response: Query.Response) -> Query.Response:
        try:
            sample = self._sample(request)
            if sample.T_camera_base is None:
                response.message = self._mount.missing(sample.frame_id)
                return response
            response.matches = matches_message(self._handler.lookup(sample), sample.T_camera_base)
            response.success = True
        except VprError as error:
            response.message = str(error)
        return response

    def _sample(self, request: Query.Request) -> ImageSample:
        """The image. Raises ImageError if it cannot be decoded."""
        header, image_rgb = request.image.header, decode_message(request.image)
        time_ns, frame_id = stamp_ns(header.stamp), header.frame_id.lstrip("/")
        T_base_camera = self._mount.camera_in_base(frame_id, time_ns)
        return ImageSample(time.monotonic_ns(), time_ns, frame_id, image_rgb, T_base_camera)
