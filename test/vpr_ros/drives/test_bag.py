"""Bags in and out: what is written comes back, topics are found, and what is missing is said in one sentence."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.camera import Intrinsics
from vpr_ros.base.errors import DriveError, ImageError
from vpr_ros.base.geometry import T_BODY_OPTICAL, heading, matrix_from_rpy, transform
from vpr_ros.base.records import DriveFrame
from vpr_ros.drives.bag import bag_topics, read_messages, write_bag
from vpr_ros.drives.drive import pose_span_of, tally_of
from vpr_ros.drives.open import DriveOptions, open_drive

pytest.importorskip("rosbags", reason="rosbags is not installed")

START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
MOUNT = transform(matrix_from_rpy(0.0, 0.1, 0.3), np.array([0.5, 0.1, 1.2])) @ T_BODY_OPTICAL


class ToyDrive:
    """A curve with a coloured picture a frame; odometry starts elsewhere; frame 3 has no truth."""

    name = "toy"
    world = "town 7"

    def __init__(self, count: int = 8, size: tuple[int, int] = (48, 64), intrinsics: Intrinsics | None = None) -> None:
        self._count, self._size, self.intrinsics = count, size, intrinsics

    def __len__(self) -> int:
        return self._count

    def image(self, i: int) -> np.ndarray:
        colour = np.array([250 - 20 * i, 100, 20 * i + 20])
        return np.broadcast_to(colour, (*self._size, 3)).astype(np.uint8)

    def __iter__(self):
        for i in range(self._count):
            T_map_base = transform(matrix_from_rpy(0.0, 0.02, 0.2 * i), np.array([2.0 * i, 0.1 * i * i, 0.5]))
            T_odom_map = transform(matrix_from_rpy(0.0, 0.0, 0.4), np.array([5.0, -3.0, 0.0]))
            T = T_map_base @ MOUNT
            poses = None if i == 3 else T, T_odom_map @ T
            yield DriveFrame(START + i * PERIOD, lambda i=i: self.image(i), *poses, intrinsics=self.intrinsics)


@pytest.fixture(scope="module")
def toy_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "toy"
    write_bag(path, ToyDrive(intrinsics=Intrinsics.pinhole(64, 48, 50.0)), T_base_camera=MOUNT)
    return path


@pytest.mark.parametrize("as_file", [False, True])
def test_a_written_drive_comes_back(toy_bag: Path, as_file: bool) -> None:
    """Poses, odometry, colours, stamps and the world's name survive, the mounting by way of /tf_static."""
    drive = open_drive(toy_bag / "toy.mcap" if as_file else toy_bag)
    assert (drive.name, drive.world, len(drive)) == ("toy", "town 7", 8)
    frames = list(drive)
    for i, (frame, toy) in enumerate(zip(frames, ToyDrive(), strict=True)):
        assert frame.stamp_ns == toy.stamp_ns
        np.testing.assert_allclose(frame.T_odom_camera, toy.T_odom_camera, atol=1e-9)
        if toy.T_map_camera is not None:
            np.testing.assert_allclose(frame.T_map_camera, toy.T_map_camera, atol=1e-9)
        assert np.abs(frame.read().astype(int) - ToyDrive().image(i)).max() < 6
    assert frames[3].T_map_camera is not None  # bridged between its neighbours
    strict = list(open_drive(toy_bag, DriveOptions(max_pose_gap_s=0.15)))
    assert strict[3].T_map_camera is None and strict[4].T_map_camera is not None


@pytest.mark.parametrize(
    ("distortion", "fisheye"),
    [((), False), ((0.1, -0.2, 0.0, 0.01), False), ((0.1, 0, 0, 0), True), ((0.1,) * 8, False), ((0.1,) * 14, False)],
)
def test_intrinsics_come_back(tmp_path: Path, distortion, fisheye) -> None:
    """Every lens OpenCV knows goes through sensor_msgs/CameraInfo unharmed: relative poses are measured with it."""
    K = np.array([[50.0, 0, 30], [0, 51, 25], [0, 0, 1]])
    write_bag(tmp_path / "toy", ToyDrive(2, intrinsics=Intrinsics(64, 48, K, distortion, fisheye)))
    read = next(iter(open_drive(tmp_path / "toy"))).intrinsics
    assert (read.width, read.height, read.fisheye, read.distortion) == (64, 48, fisheye, distortion)
    np.testing.assert_allclose(read.K, K)


@pytest.mark.parametrize("ros1", [False, True])
def test_intrinsics_are_those_of_the_images_neighbour(tmp_path: Path, ros1: bool, bag_by_hand, caplog) -> None:
    """/camera/image_rect has /camera/camera_info and is seen with its P, a region and binning taken off; another
    camera's info is nobody's, and so is one that was never calibrated, of which the user is told once.
    """
    K = [100.0, 0.0, 6.0, 0.0, 100.0, 4.0, 0.0, 0.0, 1.0]
    P = [80.0, 0.0, 6.5, 0.0, 0.0, 80.0, 4.5, 0.0, 0.0, 0.0, 1.0, 0.0]

    def build(make, add) -> None:
        add("/camera/image_rect/compressed", make.image(START), START)  # uncompressed, but its name counts
        add("/camera/camera_info", make.info(START, (16, 12), K, P, offset=(4, 4)), START)

    def others(make, add) -> None:
        add("/left/image", make.image(START), START)
        add("/right/camera_info", make.info(START, (16, 12), K, P), START)

    def zeros(make, add) -> None:
        add("/image", make.image(START), START)
        add("/camera_info", make.info(START, (6, 4), [0.0] * 9, [0.0] * 12), START)

    suffix = ".bag" if ros1 else ""
    (frame,) = open_drive(bag_by_hand(tmp_path / f"rect{suffix}", build, ros1))
    assert (frame.intrinsics.width, frame.intrinsics.height, frame.intrinsics.distortion) == (6, 4, ())
    np.testing.assert_allclose(frame.intrinsics.K, [[40, 0, 1], [0, 40, 0], [0, 0, 1]])  # (6.5 - 4 + 0.5) / 2 - 0.5
    for name, wrong, warnings in (("others", others, 0), ("zeros", zeros, 1)):
        drive = open_drive(bag_by_hand(tmp_path / f"{name}{suffix}", wrong, ros1))
        assert [frame.intrinsics for _ in range(2) for frame in drive] == [None, None]
        assert len(caplog.messages) == warnings
    assert f"zeros{suffix}, topic /camera_info: the camera is not calibrated (K is all zeros)" in caplog.text


def test_only_the_current_image_is_in_memory(toy_bag: Path) -> None:
    """Frames kept for later (a shuffled training set) hold no payload and read the bag again."""
    frames = list(open_drive(toy_bag))
    assert all(frame.read.__self__.message is None for frame in frames)
    for i in (5, 0, 7):
        assert np.abs(frames[i].read().astype(int) - ToyDrive().image(i)).max() < 6


def test_a_detached_image_holds_its_message(toy_bag: Path) -> None:
    """Taken while the frame is the current one, it is decoded later, by any thread, without opening the bag again."""
    reads = [frame.detach() for frame in open_drive(toy_bag)]
    with ThreadPoolExecutor(4) as workers:
        for i, image in enumerate(workers.map(lambda read: read(), reads)):
            assert np.abs(image.astype(int) - ToyDrive().image(i)).max() < 6
    late = list(open_drive(toy_bag))[3].detach()
    assert np.abs(late().astype(int) - ToyDrive().image(3)).max() < 6


def test_writing_twice_gives_the_same_bytes(toy_bag: Path, tmp_path: Path) -> None:
    """Shipped bags can be checked by hash; progress is told; nothing is overwritten."""
    steps: list[tuple[int, int]] = []
    for name in ("a/toy", "b/toy"):
        write_bag(tmp_path / name, ToyDrive(), on_progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 8) for i in range(1, 9)] * 2
    assert (tmp_path / "a/toy/toy.mcap").read_bytes() == (tmp_path / "b/toy/toy.mcap").read_bytes()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["toy"]
    with pytest.raises(DriveError, match=r"exists already"):
        write_bag(tmp_path / "a/toy", ToyDrive())


def test_raw_messages_for_replay(toy_bag: Path) -> None:
    """In order of time, serialised, of the topics asked for; the bag latches /tf_static."""
    topics = bag_topics(toy_bag)
    assert topics["/odom"] == ("nav_msgs/msg/Odometry", 8) and topics["/truth/pose"][1] == 7
    assert topics["/camera/camera_info"] == ("sensor_msgs/msg/CameraInfo", 8)
    messages = list(read_messages(toy_bag, ["/odom", "/camera/image_raw/compressed"]))
    assert len(messages) == 16
    assert [m.stamp_ns for m in messages] == sorted(m.stamp_ns for m in messages)
    assert messages[0].topic == "/odom" and isinstance(messages[0].data, bytes)  # odometry before its image
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    odometry = store.deserialize_cdr(messages[2].data, messages[2].msgtype)
    assert odometry.child_frame_id == "base_link" and abs(odometry.twist.twist.angular.z - 2.0) < 0.1
    assert "transient_local" in (toy_bag / "metadata.yaml").read_text()


OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # a camera that looks ahead
AHEAD = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, -np.pi / 2)


@pytest.mark.parametrize("kind", ["ros1", "sqlite3", "mcap"])
def test_poses_from_tf(tmp_path: Path, kind: str, bag_by_hand) -> None:
    """ROS 1 and 2: map -> odom -> base -> camera, the camera one metre up, the car driving north."""

    def build(make, add) -> None:
        north = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))
        add("/tf_static", make.transform(START, "base", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        for i in range(4):
            stamp = START + i * PERIOD
            add("/tf", make.transform(stamp, "odom", "base", (float(i), 0.0, 0.0)), stamp)
            add("/tf", make.transform(stamp, "map", "odom", (10.0, 20.0, 0.0), north), stamp)
            add("/image", make.image(stamp + PERIOD // 2), stamp + PERIOD // 2)

    path = tmp_path / ("tf.bag" if kind == "ros1" else "tf")
    drive = open_drive(bag_by_hand(path, build, kind == "ros1", kind == "mcap"))
    frames = list(drive)
    assert len(drive) == len(frames) == 4 and drive.world == "local"
    np.testing.assert_allclose(frames[1].T_map_camera[:3, 3], [10, 21.5, 1], atol=1e-9)
    assert heading(frames[1].T_map_camera) == pytest.approx(np.pi / 2)
    np.testing.assert_allclose(frames[1].T_odom_camera[:3, 3], [1.5, 0, 1], atol=1e-9)
    assert frames[3].T_map_camera is None  # after the last transform
    np.testing.assert_array_equal(frames[1].read(), np.full((4, 6, 3), 100))


def test_navsat_gives_utm_poses_that_look_along_the_track(tmp_path: Path, bag_by_hand) -> None:
    """East along a parallel in zone 30; fixes without a fix are left out."""

    def build(make, add) -> None:
        for i in range(6):
            stamp = START + i * PERIOD * 10
            add("/fix", make.fix(stamp, 51.75, -1.25 + 1e-4 * i), stamp)
            add("/fix", make.fix(stamp + 1, 0.0, 0.0, status=-1), stamp + 1)
            add("/image", make.image(stamp), stamp)

    path = bag_by_hand(tmp_path / "gps", build)
    with pytest.raises(DriveError, match=r"no transform from base_link to camera.*T_base_camera"):
        open_drive(path)
    drive = open_drive(path, DriveOptions(T_base_camera=AHEAD))
    frames = list(drive)
    assert drive.world == "utm 30 north"
    np.testing.assert_allclose(frames[0].T_map_camera[:3, 3], [620_800, 5_734_600, 30], atol=400)
    step = frames[3].T_map_camera[:3, 3] - frames[2].T_map_camera[:3, 3]
    assert 6.8 < step[0] < 7.0 and abs(step[1]) < 0.3
    assert abs(heading(frames[2].T_map_camera)) < 0.05


def test_a_bag_of_fixes_that_jump_opens_and_says_so(tmp_path: Path, bag_by_hand, caplog) -> None:
    """The warning could not be written, and opening ended with a traceback."""

    def build(make, add) -> None:
        for i in range(6):
            stamp = START + i * PERIOD * 10
            add("/fix", make.fix(stamp, 51.75 + 0.1 * (i > 2), -1.25 + 1e-4 * i), stamp)
            add("/image", make.image(stamp), stamp)

    path = bag_by_hand(tmp_path / "gps", build)
    assert len(list(open_drive(path, DriveOptions(T_base_camera=AHEAD)))) == 6
    assert "positions jump by 11.1 km from 51.750000, -1.249800 to 51.850000, -1.249700" in caplog.text


def test_fixes_that_are_bad_by_their_own_word_or_of_another_antenna_are_left_out(tmp_path: Path, bag_by_hand) -> None:
    """Every fifth was 100 m off and said so, and a second antenna turned the camera by up to 180 degrees."""

    def build(make, add) -> None:
        for i in range(20):
            stamp, bad = START + i * PERIOD * 10, i % 5 == 4
            add("/fix", make.fix(stamp, 51.75 + 1e-3 * bad, -1.25 + 1e-4 * i, sigma_m=100.0 if bad else 0.1), stamp)
            add("/fix", make.fix(stamp + 1, 51.75, -1.25 + 1e-4 * i - 3e-5, sigma_m=0.1, frame="rear"), stamp + 1)
            add("/image", make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "gps", build), DriveOptions(T_base_camera=AHEAD, max_pose_gap_s=60.0))
    posed = [frame.T_map_camera for frame in drive if frame.T_map_camera is not None]
    assert len(posed) == 19 and np.abs([heading(T) for T in posed]).max() < 0.05
    assert np.ptp([T[1, 3] for T in posed]) < 5.0
    lines = tally_of(drive).lines()
    assert any(line.startswith("4 position(s) left out: by their own covariance") for line in lines)
    assert any(line.startswith("20 position(s) left out: of another antenna") for line in lines)


def test_nan_poses_are_gaps(tmp_path: Path, bag_by_hand) -> None:
    """A driver that sends NaN or a zero quaternion loses that pose, not the drive."""

    def build(make, add) -> None:
        for i in range(5):
            stamp = START + i * PERIOD
            position, quat = (float(i), 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)
            if i == 1:
                position = (np.nan, 0.0, 0.0)
            if i == 2:
                quat = (0.0, 0.0, 0.0, 0.0)
            add("/pose", make.pose(stamp, position, quat), stamp)
            add("/image", make.image(stamp), stamp)

    options = DriveOptions(T_base_camera=AHEAD, max_pose_gap_s=0.2)
    has_pose = [frame.T_map_camera is not None for frame in open_drive(bag_by_hand(tmp_path / "nan", build), options)]
    assert has_pose == [True, False, False, True, True]


def test_without_poses_there_is_no_world(tmp_path: Path, bag_by_hand) -> None:
    """A live recording could not be replayed on a map of GPS poses: it was said to lie in another world."""
    path = bag_by_hand(tmp_path / "live", lambda make, add: add("/image", make.image(5 * 10**9), 5 * 10**9))
    for options in (DriveOptions(), DriveOptions(world="map")):
        drive = open_drive(path, options)
        assert drive.world == "" and pose_span_of(drive) is None and next(iter(drive)).T_map_camera is None


def test_topics_that_could_be_meant_are_listed(tmp_path: Path, bag_by_hand) -> None:
    """Nothing is guessed between two cameras or two poses; a typo names what there is."""

    def build(make, add) -> None:
        for topic in ("/left/image", "/right/image"):
            add(topic, make.image(START), START)
        for topic in ("/slam/pose", "/gps/pose", "/goal_pose"):
            add(topic, make.pose(START, (1.0, 2.0, 3.0)), START)

    path = bag_by_hand(tmp_path / "two", build)
    with pytest.raises(DriveError, match=r"give image_topic as one of /left/image, /right/image"):
        open_drive(path)
    options = DriveOptions(image_topic="/left/image", T_base_camera=AHEAD)
    with pytest.raises(DriveError, match=r"give pose_topic as one of /gps/pose, /slam/pose$"):
        open_drive(path, options)
    with pytest.raises(DriveError, match=r"no topic /lft with images; topics that could be: /left/image, /right/image"):
        open_drive(path, DriveOptions(image_topic="/lft"))
    assert next(iter(open_drive(path, dataclasses.replace(options, pose_topic="none")))).T_map_camera is None
    (frame,) = open_drive(path, dataclasses.replace(options, pose_topic="/gps/pose"))
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(frame.T_map_camera[:3, :3], T_BODY_OPTICAL[:3, :3], atol=1e-9)


def test_bags_that_hold_nothing_are_refused(tmp_path: Path, toy_bag: Path, bag_by_hand) -> None:
    """Empty, without images, truncated, damaged, not a bag: one sentence each, naming the bag."""
    cases = {
        "empty": bag_by_hand(tmp_path / "empty", lambda make, add: None),
        "no images": bag_by_hand(
            tmp_path / "blind", lambda make, add: add("/p", make.pose(START, (0.0, 0.0, 0.0)), START)
        ),
    }
    whole = (toy_bag / "toy.mcap").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "no file": b"", "text": b"hello world" * 10}.items():
        for suffix in (".mcap", ".db3", ".bag"):
            cases[name + suffix] = tmp_path / (name + suffix)
            cases[name + suffix].write_bytes(content)
    for path in cases.values():
        with pytest.raises(DriveError) as caught:
            open_drive(path)
        assert "\n" not in str(caught.value) and path.name in str(caught.value), caught.value
    flipped = bytearray(whole)
    flipped[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(flipped)
    with pytest.raises(DriveError, match="damaged"):
        list(open_drive(damaged))


def message_records(mcap: bytes) -> Iterator[tuple[int, int]]:
    """(offset, channel) of every message record of an mcap file whose chunks are not compressed."""
    spans = [(8, len(mcap) - 8)]
    while spans:
        at, end = spans.pop()
        while at < end:
            opcode, length = struct.unpack_from("<BQ", mcap, at)
            if opcode == 0x06:  # a chunk: start, end, size, crc, compression, size, records
                (name,) = struct.unpack_from("<I", mcap, at + 37)
                spans.append((at + 9 + 32 + name + 8, at + 9 + length))
            if opcode == 0x05:
                yield at, struct.unpack_from("<H", mcap, at + 9)[0]
            at += 9 + length


def test_messages_that_a_damaged_bag_hides_are_counted(tmp_path: Path, toy_bag: Path) -> None:
    """One bit of a record's kind is enough, and readers skip it: half of a drive went without a word."""
    whole = (toy_bag / "toy.mcap").read_bytes()
    by_channel: dict[int, list[int]] = {}
    for at, channel in message_records(whole):
        by_channel.setdefault(channel, []).append(at)
    often = {channel: records for channel, records in by_channel.items() if len(records) == 8}
    hidden, lines = bytearray(whole), []
    for records in often.values():
        hidden[records[5]] = 0x7F
    path = tmp_path / "toy.mcap"
    path.write_bytes(hidden)
    drive = open_drive(path)
    assert len(list(drive)) == 7
    lines = drive.tally.lines()  # type: ignore[attr-defined]
    assert any(
        line.startswith("1 image(s) left out: the bag is damaged, repair it with `mcap recover") for line in lines
    )
    assert any(line.startswith("1 message(s) of poses or transforms left out: the bag is damaged") for line in lines)
    assert not open_drive(toy_bag).tally.lines()  # type: ignore[attr-defined]


def test_a_broken_image_names_topic_and_bag(tmp_path: Path, bag_by_hand) -> None:
    """One broken image spoils no drive: the frame says so when it is read, and the next one is fine."""

    def build(make, add) -> None:
        broken = make.image(START)
        broken.data = np.zeros(5, np.uint8)
        add("/image", broken, START)
        add("/image", make.image(START + PERIOD), START + PERIOD)

    bad, good = open_drive(bag_by_hand(tmp_path / "broken", build))
    with pytest.raises(ImageError, match=r"broken, topic /image, stamp 17.*sizes do not agree"):
        bad.read()
    assert good.read().shape == (4, 6, 3)


def test_ros1_bags_cannot_be_replayed_raw(tmp_path: Path, bag_by_hand) -> None:
    path = bag_by_hand(tmp_path / "old.bag", lambda make, add: add("/image", make.image(START), START), ros1=True)
    with pytest.raises(DriveError, match=r"rosbags-convert"):
        next(read_messages(path))
