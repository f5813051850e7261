"""The rest of the answer in standard messages: ~/hypotheses, ~/markers and the map's ~/places."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, PoseArray, Vector3
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.base import geometry
from vpr_ros.ros.outputs import convert
from vpr_ros.ros.outputs.answer import Answer

_GREEN, _RED, _GREY = (0.1, 0.8, 0.2), (0.9, 0.2, 0.1), (0.6, 0.6, 0.6)


class StandardOutputs:
    """Publishers of standard messages; what nobody listens to is not made."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        create = node.create_lifecycle_publisher
        self._hypotheses = create(PoseArray, "~/hypotheses", 10)
        self._markers = create(MarkerArray, "~/markers", 10)
        self._places = node.create_publisher(Marker, "~/places", latched)  # sent once, also while inactive

    def show_map(self, positions: np.ndarray, header: Header) -> None:
        """The map's places, (N, 3) metres, for whoever comes to look."""
        points = [Point(x=x, y=y, z=z) for x, y, z in positions.tolist()]
        marker = _marker(header, "places", 0, Marker.POINTS, _GREY, 1.0, Vector3(x=0.5, y=0.5, z=0.5))
        marker.points = points
        self._places.publish(marker)

    def publish(self, answer: Answer) -> None:
        """No hypotheses where the camera's place on the robot is unknown."""
        estimate, header = answer.estimate, answer.map_header
        if answer.T_camera_base is not None:
            self._hypotheses.publish(convert.pose_array(estimate.hypotheses, header, answer.T_camera_base))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(answer))

    def forget(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._hypotheses, self._markers):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._places)


def markers(answer: Answer) -> MarkerArray:
    """An arrow along the optical axis for each hypothesis, the more opaque the likelier, and the answer in words."""
    estimate, header = answer.estimate, answer.map_header
    out = [Marker(header=header, action=Marker.DELETEALL)]
    colour = _RED if estimate.best is None else _GREEN
    for rank, hypothesis in enumerate(estimate.hypotheses):
        alpha = 0.15 + 0.85 * float(np.clip(hypothesis.probability, 0.0, 1.0))
        arrow = _marker(header, "hypotheses", rank, Marker.ARROW, colour, alpha, Vector3(x=4.0, y=0.6, z=0.6))
        arrow.pose = convert.pose_message(hypothesis.T_map_camera @ geometry.inverse(geometry.T_BODY_OPTICAL))
        out.append(arrow)
    if estimate.hypotheses:
        best = estimate.hypotheses[0]
        text = _marker(header, "answer", 0, Marker.TEXT_VIEW_FACING, colour, 1.0, Vector3(z=2.0))
        text.pose = convert.pose_message(geometry.transform(np.eye(3), best.T_map_camera[:3, 3] + [0.0, 0.0, 3.0]))
        text.text = f"{best.probability:.0%}, not on this map {estimate.off_map_probability:.0%}"
        out.append(text)
    return MarkerArray(markers=out)


def _marker(
    header: Header,
    namespace: str,
    number: int,
    kind: int,
    rgb: tuple[float, float, float],
    alpha: float,
    scale: Vector3,
) -> Marker:
    red, green, blue = rgb
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, scale=scale)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.pose.orientation.w = 1.0
    return marker
