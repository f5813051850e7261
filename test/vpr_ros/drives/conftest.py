"""Bags written by hand with rosbags, independent of the package's own writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def _bag_by_hand(path: Path, build, ros1: bool = False, mcap: bool = False) -> Path:
    """A bag written by hand: build(store, add) calls add(topic, message, stamp)."""
    from rosbags import rosbag1, rosbag2
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    if ros1:
        store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    connections: dict = {}
    kind = rosbag2.StoragePlugin.MCAP if mcap else rosbag2.StoragePlugin.SQLITE3
    with rosbag1.Writer(path) if ros1 else rosbag2.Writer(path, version=8, storage_plugin=kind) as writer:

        def add(topic: str, message, stamp: int) -> None:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
            writer.write(connections[topic], stamp, serialise(message, message.__msgtype__))

        build(Maker(store, ros1), add)
    return path


class Maker:
    """Messages by hand, ROS 1 or 2, independent of the package's own writer."""

    def __init__(self, store, ros1: bool) -> None:
        self.types, self.ros1 = store.types, ros1

    def header(self, stamp: int, frame: str):
        time = self.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        return self.types["std_msgs/msg/Header"](*((0, time, frame) if self.ros1 else (time, frame)))

    def image(self, stamp: int, value: int = 100):
        data = np.full(4 * 6 * 3, value, np.uint8)
        return self.types["sensor_msgs/msg/Image"](self.header(stamp, "camera"), 4, 6, "bgr8", 0, 18, data)

    def pose(self, stamp: int, position, quat=(0.0, 0.0, 0.0, 1.0)):
        pose = self.types["geometry_msgs/msg/Pose"](
            self.types["geometry_msgs/msg/Point"](*position), self.types["geometry_msgs/msg/Quaternion"](*quat)
        )
        return self.types["geometry_msgs/msg/PoseStamped"](self.header(stamp, "map"), pose)

    def odometry(self, stamp: int, child: str, position, quat=(0.0, 0.0, 0.0, 1.0), parent: str = "odom"):
        vector = self.types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
        twist = self.types["geometry_msgs/msg/Twist"](vector, vector)
        return self.types["nav_msgs/msg/Odometry"](
            self.header(stamp, parent),
            child,
            self.types["geometry_msgs/msg/PoseWithCovariance"](self.pose(stamp, position, quat).pose, np.zeros(36)),
            self.types["geometry_msgs/msg/TwistWithCovariance"](twist, np.zeros(36)),
        )

    def info(self, stamp: int, size, K, P, offset=(0, 0)):
        """CameraInfo of a lens; with an offset, of the region from there on, every second pixel of it."""
        width, height = size
        region = (
            (offset[0], offset[1], height - offset[1], width - offset[0], True) if any(offset) else (0,) * 4 + (False,)
        )
        numbers = {"d": np.full(5, 0.1), "k": np.array(K), "r": np.eye(3).ravel(), "p": np.array(P)}
        return self.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp, "camera"),
            width=width,
            height=height,
            distortion_model="plumb_bob",
            **({name.upper(): value for name, value in numbers.items()} if self.ros1 else numbers),
            binning_x=2 if any(offset) else 0,
            binning_y=2 if any(offset) else 0,
            roi=self.types["sensor_msgs/msg/RegionOfInterest"](*region),
        )

    def transform(self, stamp: int, parent: str, child: str, position, quat=(0.0, 0.0, 0.0, 1.0)):
        stamped = self.types["geometry_msgs/msg/TransformStamped"](
            self.header(stamp, parent),
            child,
            self.types["geometry_msgs/msg/Transform"](
                self.types["geometry_msgs/msg/Vector3"](*position), self.types["geometry_msgs/msg/Quaternion"](*quat)
            ),
        )
        return self.types["tf2_msgs/msg/TFMessage"]([stamped])

    def fix(self, stamp: int, latitude: float, longitude: float, status: int = 0, sigma_m: float = 0.0, frame="gps"):
        return self.types["sensor_msgs/msg/NavSatFix"](
            self.header(stamp, frame),
            self.types["sensor_msgs/msg/NavSatStatus"](status, 1),
            latitude,
            longitude,
            30.0,
            np.diag([sigma_m**2] * 3).ravel(),
            2 if sigma_m else 0,
        )


@pytest.fixture(scope="session")
def bag_by_hand():
    """Function (path, build, ros1=False, mcap=False) -> path; build(make, add) calls add(topic, message, stamp)."""
    return _bag_by_hand
