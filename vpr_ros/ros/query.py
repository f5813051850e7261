"""~/query: which places of the map look like an image that somebody sends. Needs vpr_msgs."""

from __future__ import annotations

import time
from typing import Protocol

from rclpy.lifecycle import LifecycleNode

from vpr_msgs.srv import Query  # type: ignore[attr-defined]
from vpr_ros.base.errors import VprError
from vpr_ros.base.image_messages import decode_message
from vpr_ros.ros.adapters.vpr_msgs import matches_message
from vpr_ros.ros.answer import Answer
from vpr_ros.ros.role import Sighting
from vpr_ros.ros.serving import create_service
from vpr_ros.ros.tf import CameraMount


class Looker(Protocol):
    """Somebody with a map."""

    def lookup(self, sighting: Sighting) -> Answer:
        """Which places an image looks like; nothing is remembered of it."""
        ...


class QueryService:
    """Answers from one image alone: the filter over time neither helps nor notices."""

    def __init__(self, node: LifecycleNode, looker: Looker, mount: CameraMount) -> None:
        self._looker = looker
        self._mount = mount
        self.service = create_service(node, Query, "~/query", self._answer)

    def _answer(self, request: Query.Request, response: Query.Response) -> Query.Response:
        try:
            sighting = self._sighting(request)
            if sighting.T_camera_base is None:
                response.message = self._mount.missing(sighting.header.frame_id)
                return response
            response.matches = matches_message(self._looker.lookup(sighting), sighting.T_camera_base)
            response.success = True
        except VprError as error:
            response.message = str(error)
        return response

    def _sighting(self, request: Query.Request) -> Sighting:
        """The image; raises ImageError for one that is none."""
        header, image_rgb = request.image.header, decode_message(request.image)
        sighting = Sighting(time.monotonic_ns(), header, image_rgb, None)
        T_base_camera = self._mount.camera_in_base(header.frame_id.lstrip("/"), sighting.stamp_ns)
        return Sighting(sighting.arrived_ns, header, image_rgb, T_base_camera)
