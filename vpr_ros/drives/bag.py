"""ROS 1 and ROS 2 bags as drives, drives as ROS 2 bags, and their messages for replay, without ROS."""

from __future__ import annotations

import logging
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.camera_messages import intrinsics_of, is_rectified
from vpr_ros.base.errors import ConfigError, DriveError, ImageError, brief
from vpr_ros.base.geometry import T_BODY_OPTICAL
from vpr_ros.base.image_messages import annotate, decode_message
from vpr_ros.base.image_order import ImageOrder, Ordered, time_text
from vpr_ros.base.messages import camera_info_topic, stamp_ns
from vpr_ros.base.records import DriveFrame
from vpr_ros.base.tally import Tally
from vpr_ros.drives import bag_messages as msgs
from vpr_ros.drives.bag_poses import BagPoses
from vpr_ros.drives.bag_writer import BagWriter
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.files import BAG_SUFFIXES, entries
from vpr_ros.drives.options import DriveOptions

logger = logging.getLogger(__name__)

_URI = re.compile(r"[?#]|%[0-9a-fA-F]{2}")  # in a path that is part of an address
_MCAP, _MCAP_HEAD = b"\x89MCAP0\r\n", struct.Struct("<8s9xI")  # the magic, and the length of the profile


def _files_in(folder: Path) -> list[Path]:
    return [p for p in entries(folder) if p.suffix in BAG_SUFFIXES and p.is_file()]


def _repair(path: Path) -> str:
    """The command that repairs a bag of this kind."""
    files = _files_in(path) if path.is_dir() else [path]
    target, suffix = (files[0], files[0].suffix) if len(files) == 1 else (path, "")
    found, made = quote(str(target)), quote(f"{target.stem}_recovered{suffix}")
    commands = {
        ".bag": f"`rosbag reindex {found}`",
        ".mcap": f"`mcap recover {found} -o {made}`",
        ".db3": f"`sqlite3 {found} .recover | sqlite3 {made}`",
    }
    return commands.get(suffix, _reindex(path))


def _reindex(path: Path) -> str:
    """The command that writes the metadata.yaml of a bag's folder, or of a file's, anew."""
    return f"`ros2 bag reindex {quote(str(path if path.is_dir() else path.parent))}`"


def _not_opened(path: Path, target: Path, error: Exception) -> str:
    """Why a bag cannot be opened, and what to do. target: what was opened, the bag's folder or a file in it."""
    files = _files_in(target) if target.is_dir() else [target]
    if any(file.suffix == ".db3" and _URI.search(str(file)) for file in files):
        return f"the bag {path} cannot be read at this path, as SQLite takes ?, # and % for its own: move or rename it"
    if (profile := _mcap_profile(files[0]) if files else None) not in (None, "ros2"):
        return (
            f"{path} is an mcap file of the profile {profile!r}, and those of ROS 2 are read: convert it, or record it "
            "with `ros2 bag record`"
        )
    if target.is_dir() and files and all(map(_opens, files)):
        return (
            f"the metadata.yaml of the bag {path} is damaged or does not fit its files ({brief(error)}): run "
            f"{_reindex(path)}, or give a file, such as {files[0]}"
        )
    return (
        f"the bag {path} is empty, truncated or no bag ({brief(error)}): record it again or repair it with "
        f"{_repair(target)}"
    )


def _mcap_profile(file: Path) -> str | None:
    """What an mcap file says to be of, such as "ros2"; None for other files."""
    with suppress(OSError, struct.error), file.open("rb") as opened:
        head = opened.read(_MCAP_HEAD.size)
        magic, size = _MCAP_HEAD.unpack(head)
        if magic == _MCAP:
            return opened.read(min(size, 100)).decode(errors="replace")
    return None


def _opens(file: Path) -> bool:
    """Whether a file of a bag can be opened alone."""
    try:
        with AnyReader([file], default_typestore=get_typestore(Stores.ROS2_HUMBLE)):
            return True
    except Exception:  # see _opened
        return False


@contextmanager
def _opened(path: Path) -> Iterator[AnyReader]:
    """A bag's reader. Raises DriveError where there is no bag or it cannot be opened."""
    target = path
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        files = _files_in(path)
        if len(files) != 1:
            ros1 = any(file.suffix == ".bag" for file in files)
            raise DriveError(
                f"the folder {path} holds {len(files)} bag files and no metadata.yaml: give one of the files"
                + (f", such as {files[0]}" if ros1 else f", or run {_reindex(path)}")
            )
        target = files[0]
    try:
        # The types are for bags older than Iron, which carry none.
        reader = AnyReader([target], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as error:  # rosbags raises its own errors and, on broken files, those of struct, YAML and others
        raise DriveError(_not_opened(path, target, error)) from error
    try:
        yield reader
    finally:
        reader.close()


_ZSTD = bytes([0x28, 0xB5, 0x2F, 0xFD])  # what compressed data begins with


@contextmanager
def _of_ros(path: Path) -> Iterator[None]:
    """Reading the fields of messages, whose definitions are the bag's. Raises DriveError where they are not ROS's."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DriveError(
            f"the bag {path} holds messages of other fields than ROS defines ({brief(error)}): record it again"
        ) from error


def _raw_messages(
    reader: AnyReader, topics: Sequence[str], path: Path, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[Any, int, bytes]]:
    """(connection, log time in nanoseconds, bytes) of some topics in order. Raises DriveError for a damaged bag."""
    connections = [c for c in reader.connections if c.topic in topics]
    if not connections:
        return
    stream = reader.messages(connections, start, stop)
    while True:
        try:
            item = next(stream)
        except StopIteration:
            return
        except Exception as error:  # see _opened
            raise DriveError(f"the bag {path} is damaged ({brief(error)}): repair it with {_repair(path)}") from error
        yield item


def _messages(
    reader: AnyReader, topics: Sequence[str], path: Path, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[str, int, Any]]:
    """(topic, log time in nanoseconds, message) of some topics in the order of the bag."""
    for connection, log_ns, raw in _raw_messages(reader, topics, path, start, stop):
        try:
            message = reader.deserialize(raw, connection.msgtype)
        except Exception as error:  # see _opened
            if bytes(raw[:4]) == _ZSTD:
                raise DriveError(
                    f"the bag {path} has compressed messages, which only its metadata.yaml says: give its folder, or "
                    f"without that file run {_reindex(path)}"
                ) from error
            raise DriveError(
                f"the bag {path} has a damaged message on {connection.topic} ({brief(error)}): repair it with "
                f"{_repair(path)}"
            ) from error
        yield connection.topic, log_ns, message


def _counted_messages(
    reader: AnyReader, topics: Sequence[str], path: Path, what: str, tally: Tally
) -> Iterator[tuple[str, int, Any]]:
    """``_messages``; those that the bag counts but does not give are counted at the end: readers skip damaged ones."""
    missing: Counter[str] = Counter()
    for connection in reader.connections:
        if connection.topic in topics:
            missing[connection.topic] += connection.msgcount
    for item in _messages(reader, topics, path):
        missing[item[0]] -= 1
        yield item
    for topic, count in missing.items():
        if count > 0:
            tally.add(f"{what} left out: the bag is damaged, repair it with {_repair(path)}", topic, count)


def _custom_data(path: Path) -> dict[str, str]:
    """What write_bag noted in the bag's metadata.yaml; {} for bags of others."""
    metadata = (path if path.is_dir() else path.parent) / "metadata.yaml"
    try:
        info = yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"]
        ours = path.is_dir() or path.name in info["relative_file_paths"]
        return dict(info["custom_data"] or {}) if ours else {}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}


class BagDrive:
    """A ROS 1 or ROS 2 bag as a Drive: images of one topic, poses of topics or /tf (see DriveOptions).

    Poses are read once on opening; images stream in the order of the bag, ordered and dated by ``ImageOrder`` as the
    node does it, and only the current message is in memory: a frame kept for later reads its message from the bag
    again. len() counts the messages. tally: what was left out on opening and on the last pass. Pose topics give the
    pose of the robot's base, which the camera's mounting (DriveOptions or /tf_static) takes to the camera. Intrinsics
    are those of the camera_info beside the image topic; one that is no calibration is warned of and left out. Raises
    DriveError, one sentence, for what is missing.
    """

    def __init__(self, path: Path, options: DriveOptions) -> None:
        self.path = path
        self.options = options
        self.name = path.stem if path.is_file() else (path.name or path.resolve().name)
        self._of_pass = Tally()
        with _opened(path) as reader, _of_ros(path):
            topics = {c.topic: c.msgtype for c in reader.connections if c.msgcount}
            if not topics:
                raise DriveError(f"the bag {path} holds no messages: record it again")
            image_topic = msgs.choose_topic(
                options.image_topic, topics, msgs.IMAGE_TYPES, "image_topic", "images", path
            )
            if image_topic is None:
                listing = ", ".join(sorted(topics))
                raise DriveError(
                    f"the bag {path} has no images of a camera; its topics are {listing}: if one of them has, give "
                    "image_topic"
                )
            self.image_topic: str = image_topic
            self._count = sum(c.msgcount for c in reader.connections if c.topic == image_topic)
            first = next(_messages(reader, [image_topic], path), None)
            if first is None:
                raise DriveError(f"the bag {path} is damaged: its index counts images but none can be read")
            camera_frame = options.camera_frame or first[2].header.frame_id
            self._poses = BagPoses(topics, image_topic, camera_frame, options, path)
            lost = "message(s) of poses or transforms"
            for topic, log_ns, message in _counted_messages(reader, self._poses.topics, path, lost, self._poses.tally):
                self._poses.add(topic, log_ns, message)
            self.intrinsics = self._read_intrinsics(reader, topics, first[2])
        world = self._poses.close()
        self.pose_span = self._poses.span
        self.world = (_custom_data(path).get("world") or world) if world == "local" else world

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its path: another process opens the bag again."""
        return type(self), (self.path, self.options), {"name": self.name, "world": self.world}

    def _read_intrinsics(self, reader: AnyReader, topics: Mapping[str, str], image: Any) -> Intrinsics | None:
        """Of the first camera_info beside the images, None without a good one: a camera is calibrated once.

        image: the message of the first one, which it must fit.
        """
        topic = camera_info_topic(self.image_topic)
        if topics.get(topic) not in msgs.INFO_TYPES:
            return None
        found = next(_messages(reader, [topic], self.path), None)
        if found is None:
            return None
        try:
            camera = intrinsics_of(found[2], is_rectified(self.image_topic))
            with suppress(ImageError):
                camera.check_fits(*decode_message(image).shape[1::-1])
            return camera
        except ConfigError as error:
            logger.warning("%s, topic %s: %s; read without intrinsics", self.path, topic, error)
            return None

    def __len__(self) -> int:
        return self._count

    @property
    def tally(self) -> Tally:
        """What was left out of the poses, and of the images on the last pass."""
        tally = Tally()
        tally.update(self._poses.tally)
        tally.update(self._of_pass)
        return tally

    def __iter__(self) -> Iterator[DriveFrame]:
        tally, order = Tally(), ImageOrder()
        self._of_pass = tally
        with _opened(self.path) as reader:
            for _, log_ns, message in _counted_messages(reader, [self.image_topic], self.path, "image(s)", tally):
                with _of_ros(self.path):
                    placed = order.place(stamp_ns(message.header.stamp), log_ns)
                _note(placed, log_ns, tally)
                if not placed.taken:
                    continue
                image = _BagImage(self, log_ns, message)
                truth, odometry = self._poses.at(placed.stamp_ns)
                yield DriveFrame(placed.stamp_ns, image.read, truth, odometry, None, image.detach, self.intrinsics)
                image.message = None

    @property
    def odom_topic(self) -> str:
        """The topic of odometry, "" without one."""
        return self._poses.odom_topic

    @property
    def other_poses(self) -> str:
        """Without true poses, the options that would take others of the bag for them."""
        return self._poses.other_poses

    @property
    def base_frame(self) -> str:
        """The frame that pose and odometry topics are of."""
        return self._poses.base_frame

    def true_pose(self, stamp_ns: int) -> np.ndarray | None:
        """T_map_camera (4, 4) at a time, or None if it is unknown."""
        return self._poses.at(stamp_ns)[0]

    def messages(self, more: Iterable[str] = ()) -> Iterator[tuple[str, int, Any]]:
        """(topic, log time in nanoseconds, message) of images, odometry and transforms, in the order of the bag.

        more: other topics. Those that the bag lacks are left out.
        """
        topics = {self.image_topic, *self._poses.tf_topics, *filter(None, [self.odom_topic]), *more}
        with _opened(self.path) as reader, _of_ros(self.path):
            yield from _messages(reader, sorted(topics), self.path)

    def message_at(self, log_ns: int, header: Any) -> Any:
        """The image message logged at a time with this header, read from the bag again."""
        with _opened(self.path) as reader:
            for _, _, message in _messages(reader, [self.image_topic], self.path, log_ns, log_ns + 1):
                if message.header.stamp == header.stamp:
                    return message
        raise DriveError(f"the bag {self.path} changed while it was read")


def _note(placed: Ordered, log_ns: int, tally: Tally) -> None:
    """Count what was not as it should be with an image's time."""
    logged = f"logged at {time_text(log_ns)}"
    if not placed.taken:
        tally.add(f"image(s) left out: {placed.problem}", logged)
    elif placed.problem:
        tally.add(f"image(s) {placed.problem}: their log time is used", logged)
    if placed.back_ns:
        tally.add("jump(s) back of the images' clock", logged)


class _BagImage:
    """An image message while it is the current one; afterwards, where to find it."""

    def __init__(self, drive: BagDrive, log_ns: int, message: Any) -> None:
        self.drive, self.log_ns, self.header, self.message = drive, log_ns, message.header, message

    def read(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return self._decode(self.message or self.drive.message_at(self.log_ns, self.header))

    def detach(self) -> Callable[[], np.ndarray]:
        """A read that holds the message, for any thread."""
        return self.read if self.message is None else partial(self._decode, self.message)

    def _decode(self, message: Any) -> np.ndarray:
        where = f"{self.drive.path}, topic {self.drive.image_topic}, stamp {stamp_ns(self.header.stamp)}"
        return annotate(lambda: decode_message(message), where)


class RawMessage(NamedTuple):
    """One serialised message of a bag: data is CDR, as rclpy's publish() takes it."""

    stamp_ns: int
    topic: str
    data: bytes
    msgtype: str


def bag_topics(path: str | Path) -> dict[str, tuple[str, int]]:
    """Topic -> (message type, number of messages) of a bag."""
    topics: dict[str, tuple[str, int]] = {}
    with _opened(Path(path)) as reader:
        for c in reader.connections:
            topics[c.topic] = (c.msgtype, c.msgcount + topics.get(c.topic, ("", 0))[1])
    return topics


def read_messages(path: str | Path, topics: Sequence[str] | None = None) -> Iterator[RawMessage]:
    """The serialised messages of a ROS 2 bag in order of their log times (stamp_ns), for replay on real topics.

    topics: which; None is all. Raises DriveError for a ROS 1 bag, whose messages ROS 2 cannot take as they are.
    """
    path = Path(path)
    with _opened(path) as reader:
        if not reader.is2:
            raise DriveError(f"{path} is a ROS 1 bag: convert it with `rosbags-convert` to replay it on ROS 2 topics")
        wanted = [c.topic for c in reader.connections] if topics is None else topics
        for connection, log_ns, raw in _raw_messages(reader, wanted, path):
            yield RawMessage(log_ns, connection.topic, bytes(raw), connection.msgtype)


def write_bag(
    path: str | Path,
    drive: Drive,
    *,
    image_topic: str = "/camera/image_raw/compressed",
    odom_topic: str = "/odom",
    truth_topic: str = "/truth/pose",
    jpeg_quality: int = 85,
    T_base_camera: np.ndarray = T_BODY_OPTICAL,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a drive as a ROS 2 bag (a folder with an mcap file); the same drive gives the same bytes.

    Image (JPEG, frame camera_optical), odometry (odom -> base_link) and truth (base_link in map) share the image's
    stamp, as does a camera_info of a frame with intrinsics; /tf_static holds T_base_camera, (4, 4) base_link ->
    camera_optical. on_progress: called with (images done, images in all). The bag appears when it is whole. Raises
    DriveError where path exists.
    """
    path = Path(path)
    if path.exists():
        raise DriveError(f"{path} exists already: remove it or give another name")
    partial = path.parent / f".{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with Writer(partial / path.name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.set_custom_data("world", drive.world)
        out = BagWriter(writer, T_base_camera)
        for done, frame in enumerate(drive, start=1):
            image = frame.read()
            if done == 1:
                mounting = out.make.static_transform(frame.stamp_ns, "base_link", "camera_optical", T_base_camera)
                out.write("/tf_static", mounting)
            out.write_poses(frame, odom_topic, truth_topic)
            if frame.intrinsics is not None:
                info = out.make.camera_info(frame.stamp_ns, "camera_optical", frame.intrinsics)
                out.write(camera_info_topic(image_topic), info)
            jpeg = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].ravel()
            out.write(image_topic, out.make.compressed_image(frame.stamp_ns, "camera_optical", jpeg))
            if on_progress is not None:
                on_progress(done, len(drive))
    (partial / path.name).rename(path)
    partial.rmdir()
