"""~/depth/image_rect and ~/depth/camera_info: the depth that the network sees, as depth_image_proc takes it."""

from __future__ import annotations

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image

from vpr_ros.ros.input.camera_calibration import CameraCalibration
from vpr_ros.ros.modes.mode import ImageSample
from vpr_ros.ros.outputs import convert


class DepthOutput:
    """Depth in metres (32FC1), with the lens' distortion taken out and a CameraInfo if the camera is calibrated.

    Without a calibration the depth is published as it was seen, and no CameraInfo. Nothing is made if nobody listens.
    """

    def __init__(self, node: LifecycleNode, calibration: CameraCalibration) -> None:
        self._node = node
        self._calibration = calibration
        self._image = node.create_lifecycle_publisher(Image, "~/depth/image_rect", 5)
        self._info = node.create_lifecycle_publisher(CameraInfo, "~/depth/camera_info", 5)

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        return bool(self._image.get_subscription_count() or self._info.get_subscription_count())

    def publish(self, depth: np.ndarray | None, sample: ImageSample) -> None:
        """depth: (h, w) float32 metres, 0 where unknown, of the whole image that was sighted."""
        if depth is None or not self.wanted:
            return
        height, width = sample.image_rgb.shape[:2]
        camera = self._calibration.of_image(width, height)
        if camera is not None:
            camera = camera.resized(depth.shape[1], depth.shape[0])
            depth = camera.rectified(depth)
            self._info.publish(convert.camera_info(camera, convert.header(sample.stamp_ns, sample.frame_id)))
        self._image.publish(convert.depth_image(depth, convert.header(sample.stamp_ns, sample.frame_id)))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._image, self._info):
            self._node.destroy_lifecycle_publisher(publisher)
