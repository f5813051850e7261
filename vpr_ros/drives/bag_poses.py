"""The poses of a bag, gathered in one pass from pose, odometry and NavSatFix topics and /tf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from vpr_ros.base.errors import DriveError
from vpr_ros.base.frames import FrameTree
from vpr_ros.base.image_order import NO_STAMP
from vpr_ros.base.messages import matrix_from_pose, matrix_from_transform, stamp_ns
from vpr_ros.base.tally import Tally
from vpr_ros.base.times import Span
from vpr_ros.base.track import Track, planar_poses
from vpr_ros.drives import bag_messages as msgs
from vpr_ros.drives.fixes import headings_from_track, usable_fixes
from vpr_ros.drives.options import DriveOptions

_REPLACED = "fixed transform(s) differ from an earlier one of the same frame, and replace it"
_TWO_PARENTS = "frame(s) have transforms from two others in /tf, of which one is used: stop one publisher"
_RENAMED = 3  # changes of frame for each frame of a topic, that are of a driver that was started again
_BASES = ("base_link", "base_footprint", "base", "base_frame")  # names of a robot's own frame; others are of a sensor


class BagPoses:
    """Feed it every message of ``topics``, then close it, then ask for the camera's poses at image stamps.

    Odometry says which frame it is the pose of, and NavSatFix which frame the antenna is; other poses are of
    ``base_frame``. With the option base_frame, all but the antenna's are. With T_base_camera, the base is the frame of
    the odometry, if the option does not say another.

    topics (given): name -> type of what the bag holds. image_topic: of the camera. Raises DriveError, on opening or
    closing, where several topics could be meant, where a topic holds no valid pose, and where the camera's mounting is
    unknown. tally: what was left out of the poses. span: from when to when there are true poses, None without any;
    known once it is closed. other_poses: without true poses, the options that would give some.
    """

    def __init__(
        self, topics: Mapping[str, str], image_topic: str, camera_frame: str, options: DriveOptions, path: object
    ) -> None:
        self._options, self._camera_frame, self._path = options, camera_frame, path
        self.base_frame = options.base_frame
        self._frames: dict[str, str] = {}  # that the poses of a topic are of, as its messages say
        self._worlds = {options.map_frame, options.odom_frame}  # frames that poses are in
        odometry = (options.odom_topic, topics, msgs.ODOMETRY_TYPES, "odom_topic", "odometry", path)
        self._odom_topic = msgs.choose_topic(*odometry)
        pose_types = msgs.POSE_TYPES + (msgs.ODOMETRY_TYPES if options.pose_topic else ())
        self._pose_topic = msgs.choose_topic(options.pose_topic, topics, pose_types, "pose_topic", "poses", path)
        self._navsat_topic = None
        if self._pose_topic is None and (options.pose_topic != "none" or options.navsat_topic):
            navsat = (options.navsat_topic, topics, msgs.NAVSAT_TYPES, "navsat_topic", "NavSatFix", path)
            self._navsat_topic = msgs.choose_topic(*navsat)
        self.tf_topics, others = msgs.choose_tf_topics(topics, image_topic)
        self._robots = ", ".join(others)
        self.tally = Tally()
        kind = "topic(s) of transforms left out: not of the images' namespace"
        self.tally.add(kind, "".join(others[:1]), len(others))
        wanted = (self._odom_topic, self._pose_topic, self._navsat_topic, *self.tf_topics)
        self.topics = sorted({topic for topic in wanted if topic})
        self._poses: dict[str, list[tuple[int, np.ndarray]]] = {topic: [] for topic in self.topics}
        self._bodies: dict[str, list[str]] = {topic: [] for topic in self.topics}  # frames of these poses
        self._edges: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
        self._tree = FrameTree()
        self._moving: dict[str, Track] = {}  # tracks of the tree, by child frame
        self.span: Span | None = None
        self.other_poses = ""
        self._moved_in: set[str] = set()  # parents of moving frames
        self._truth: Track | None = None
        self._odometry: Track | None = None
        self._of_truth = self._of_odometry = ""  # frames that these are the poses of

    @property
    def odom_topic(self) -> str:
        """The topic of odometry, "" without one."""
        return self._odom_topic or ""

    def add(self, topic: str, log_ns: int, message: Any) -> None:
        """Take one message; poses that are not finite or no rotation are left out, a gap in the track."""
        if topic in self.tf_topics:
            self._add_transforms(topic, log_ns, message)
            return
        stamp = self._stamp(message.header, log_ns, topic)
        if topic == self._navsat_topic:
            if message.status.status < 0:
                self.tally.add("position(s) left out: their status is no fix", topic)
            else:
                fix = np.array([message.latitude, message.longitude, message.altitude, _sigma_m(message)])
                self._poses[topic].append((stamp, fix))
                self._bodies[topic].append(message.header.frame_id.lstrip("/"))
            return
        self._worlds.add(message.header.frame_id.lstrip("/"))
        T = matrix_from_pose(message)
        if T is not None:
            self._poses[topic].append((stamp, T))
            self._bodies[topic].append(getattr(message, "child_frame_id", "").lstrip("/"))
        else:
            self.tally.add("pose(s) left out: not finite or no rotation", topic)

    def _choose_body(self, topic: str) -> None:
        """Find the frame that most poses of a topic are of. Others are left out if they alternate, as two antennas do.

        A driver that is started again may name its frame otherwise from then on, or not at all.
        """
        named = [(row, frame) for row, frame in enumerate(self._bodies[topic]) if frame]
        counts = Counter(frame for _, frame in named)
        self._frames[topic] = usual = max(counts, key=lambda frame: counts[frame], default="")
        changes = sum(one != other for (_, one), (_, other) in pairwise(named))
        if changes <= _RENAMED * len(counts):
            return
        others = {row for row, frame in named if frame != usual}
        example = next(frame for _, frame in named if frame != usual)
        what = ("position(s)", "antenna") if topic == self._navsat_topic else ("pose(s)", "frame")
        kind = "{} left out: of another {} than most".format(*what)
        self.tally.add(kind, f"{topic}, '{example}' beside '{usual}'", len(others))
        self._poses[topic] = [sample for row, sample in enumerate(self._poses[topic]) if row not in others]

    def _stamp(self, header: Any, log_ns: int, topic: str) -> int:
        stamp = stamp_ns(header.stamp)
        if stamp <= 0:
            self.tally.add(f"pose(s) {NO_STAMP}: their log time is used", topic)
        return stamp if stamp > 0 else log_ns

    def _add_transforms(self, topic: str, log_ns: int, message: Any) -> None:
        for stamped in message.transforms:
            T = matrix_from_transform(stamped.transform)
            parent, child = stamped.header.frame_id.lstrip("/"), stamped.child_frame_id.lstrip("/")
            if T is None:
                continue
            if topic.endswith("tf_static"):
                if self._tree.fix(parent, child, T):
                    self.tally.add(_REPLACED, f"{parent} to {child}")
            else:
                stamp = self._stamp(stamped.header, log_ns, topic)
                self._edges.setdefault((parent, child), []).append((stamp, T))

    def close(self) -> str:
        """All messages are in. Returns the poses' world: "utm 30 north" of NavSatFix, else "local"; "" without any."""
        for (parent, child), samples in self._edges.items():
            if (other := self._tree.parent(child)) not in (None, parent):
                self.tally.add(_TWO_PARENTS, f"{child}, in {other} and in {parent}")
            self._moving[child] = self._track_of(samples, f"{parent} to {child}")
            self._tree.move(parent, child, self._moving[child])
        self._moved_in = {parent for parent, _ in self._edges}
        self._edges.clear()
        self._camera_frame = self._camera_frame.lstrip("/")
        for topic in self._bodies:
            self._choose_body(topic)
        self.base_frame = (self._options.base_frame or self._usual_base()).lstrip("/")
        self._of_truth, self._of_odometry = self._frame_of(self._pose_topic), self._frame_of(self._odom_topic)
        world = "local"
        if self._odom_topic:
            self._odometry = self._track(self._odom_topic)
        if self._pose_topic:
            self._truth = self._track(self._pose_topic)
        elif self._navsat_topic:
            self._truth, world = self._navsat_track(self._navsat_topic)
        self._check_mount()
        self._poses.clear()
        chain: list[str] = []  # of frames of /tf from the camera to the map's, if that is where the poses are from
        if self._truth is None and self._options.pose_topic != "none":
            chain = self._tree.ancestors(self._camera_frame if self._options.mount is None else self.base_frame)
            chain = chain if self._options.map_frame in chain else []
        moving = [self._moving[frame] for frame in chain if frame in self._moving]
        track = self._truth or (moving[-1] if moving else None)
        self.span = None if track is None else track.span
        if track is None and not chain:
            self.other_poses = self._elsewhere()
            return ""
        return world

    def _elsewhere(self) -> str:
        """The options that would take odometry, or a frame in /tf that is not called map, for true poses."""
        root = self._tree.ancestors(self._camera_frame if self._options.mount is None else self.base_frame)[-1]
        frame = f"map_frame={root}" if root in self._moved_in else ""
        topic = f"pose_topic={self._odom_topic}" if self._odom_topic else ""
        return " or ".join(f"-d {option}" for option in (topic, frame) if option)

    def _usual_base(self) -> str:
        """The frame that poses without a frame of their own are of."""
        of_odometry = self._frames.get(self._odom_topic or "", "")
        if self._options.mount is None and of_odometry.rpartition("/")[2] not in _BASES:  # a sensor's
            return "base_link" if self._on_robot("base_link", self._camera_frame) else of_odometry or "base_link"
        return of_odometry or "base_link"

    def _on_robot(self, frame: str, other: str) -> bool:
        """Whether a chain joins two frames without a frame that the robot moves in."""
        of_frame, of_other = self._tree.ancestors(frame), self._tree.ancestors(other)
        common = next((one for one in of_other if one in of_frame), None)
        # Some drivers name a frame of the robot as the one that their poses are in.
        worlds = {one for one in self._worlds if one not in of_other or not self._tree.is_fixed(one, other)}
        return common is not None and common not in {above for world in worlds for above in self._tree.ancestors(world)}

    def _frame_of(self, topic: str | None) -> str:
        """The frame that the poses of a topic are of."""
        frame = self._frames.get(topic or "", "")
        if not frame or self._options.base_frame:
            return self.base_frame
        if self._options.mount is not None and not self._on_robot(frame, self.base_frame):
            return self.base_frame
        return frame

    def _track(self, topic: str) -> Track:
        samples = self._poses[topic]
        if not samples:
            raise DriveError(f"the bag {self._path} has no valid pose on {topic}: all are NaN or without a rotation")
        return self._track_of(samples, topic)

    def _track_of(self, samples: list[tuple[int, np.ndarray]], example: str) -> Track:
        stamps, poses = [s for s, _ in samples], [T for _, T in samples]
        return Track.of(stamps, poses, self._options.max_pose_gap_ns, self.tally, example)

    def _navsat_track(self, topic: str) -> tuple[Track, str]:
        samples = self._poses[topic]
        if not samples:
            raise DriveError(f"the bag {self._path} has no valid fix on {topic}: every NavSatFix says there is none")
        stamps_ns, fixes = np.array([stamp for stamp, _ in samples]), np.array([fix for _, fix in samples])
        where = f"the bag {self._path}, topic {topic}"
        rows, positions, world = usable_fixes(
            fixes[:, :2], fixes[:, 2], stamps_ns, self.tally, where, self._options.world, fixes[:, 3], once=True
        )
        stamps_ns = stamps_ns[rows]
        yaw = headings_from_track(positions)
        if yaw is None:
            no_heading = f"the fixes on {topic} of the bag {self._path} never move, so they give no heading"
            raise DriveError("; ".join([no_heading, *self.tally.lines()]))
        of_antenna = planar_poses(positions, yaw)
        antenna = self._antenna(topic, stamps_ns)
        of_antenna[:, :3, 3] -= of_antenna[:, :3, :3] @ antenna
        return Track.of(stamps_ns, of_antenna, self._options.max_pose_gap_ns), world

    def _antenna(self, topic: str, stamps_ns: np.ndarray) -> np.ndarray:
        """(3,) metres, the antenna's place on the base. If it is unknown, the base's own, which is counted."""
        frame = self._frames.get(topic, "")
        if self._on_robot(frame, self.base_frame):
            found = (self._tree.lookup(self.base_frame, frame, stamp) for stamp in stamps_ns.tolist())
            T_base_antenna = next((T for T in found if T is not None), None)
            if T_base_antenna is not None:
                return np.asarray(T_base_antenna[:3, 3])
        kind = f"topic(s) of fixes are taken for the place of {self.base_frame}: no transform to the antenna"
        self.tally.add(kind, f"{topic}, frame_id '{frame}'")
        return np.zeros(3)

    def _check_mount(self) -> None:
        """A pose of the base is of no use without the camera's place on it, and identity would be a silent lie."""
        if self._options.mount is not None:
            return
        if (
            self._robots
            and not self.tf_topics
            and (self._truth or self._odometry or self._options.pose_topic != "none")
        ):
            raise DriveError(
                f"the bag {self._path} has transforms of several robots, and none of the images' namespace: "
                f"{self._robots}; record those of one robot, give T_base_camera, or pose_topic and odom_topic as none"
            )
        tracks = (self._truth, self._of_truth), (self._odometry, self._of_odometry)
        for frame in (frame for track, frame in tracks if track is not None):
            if not self._on_robot(frame, self._camera_frame):
                camera = self._camera_frame or "the camera"
                raise DriveError(
                    f"the bag {self._path} has no transform from {frame} to {camera} in /tf_static: give "
                    "T_base_camera (x y z roll pitch yaw of the camera's optical frame), base_frame or camera_frame"
                )

    def at(self, stamp: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(T_map_camera, T_odom_camera) at an image's stamp, each (4, 4) or None."""
        map_frame = self._options.map_frame if self._options.pose_topic != "none" else ""
        odom_frame = self._options.odom_frame if self._options.odom_topic != "none" else ""
        return (
            self._camera_in(self._truth, self._of_truth, map_frame, stamp),
            self._camera_in(self._odometry, self._of_odometry, odom_frame, stamp),
        )

    def _camera_in(self, track: Track | None, body: str, frame: str, stamp: int) -> np.ndarray | None:
        """Pose of the camera from a track of a body, or, without one, from the tree."""
        mount = self._options.mount
        target = self._camera_frame if mount is None else self.base_frame
        if track is None:
            T = self._tree.lookup(frame, target, stamp) if self._tree.parent(target) else None
        else:
            T_frame_body, T_body_target = track.at(stamp), self._tree.lookup(body, target, stamp)
            T = None if T_frame_body is None or T_body_target is None else T_frame_body @ T_body_target
        return T if T is None or mount is None else T @ mount


def _sigma_m(fix: Any) -> float:
    """Standard deviation in the plane that a NavSatFix states, metres; 0 if it states none."""
    if not fix.position_covariance_type:
        return 0.0
    variance = max(float(fix.position_covariance[0]), float(fix.position_covariance[4]))
    return float(np.sqrt(variance)) if variance > 0 else 0.0
