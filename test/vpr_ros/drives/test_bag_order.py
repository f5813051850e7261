"""Images of bags in time: zero, standing, repeated and late stamps, clocks that jump, and positions that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.image_order import DUPLICATE, LATE, NO_STAMP, STANDING
from vpr_ros.base.track import TWO_POSES
from vpr_ros.drives.drive import pose_span_of, sample, tally_of
from vpr_ros.drives.left_out import NO_POSE
from vpr_ros.drives.open import DriveOptions, open_drive
from vpr_ros.drives.views import SampledDrive

pytest.importorskip("rosbags", reason="rosbags is not installed")

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
AHEAD = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, -np.pi / 2)


@pytest.fixture(params=["ros1", "sqlite3", "mcap"])
def drive_of(request, tmp_path: Path, bag_by_hand):
    """Function (stamps in headers, log times) -> the drive of a bag with such images and a pose each second."""

    def make(headers: list[int], logged: list[int]):
        def build(maker, add) -> None:
            for second in range(-1, 40):
                stamp = START + second * SECOND
                add("/pose", maker.pose(stamp, (float(second), 0.0, 0.0)), stamp)
            for header, log in zip(headers, logged, strict=True):
                add("/image", maker.image(header), log)

        path = tmp_path / ("odd.bag" if request.param == "ros1" else "odd")
        drive = open_drive(bag_by_hand(path, build, request.param == "ros1", request.param == "mcap"), options)
        assert isinstance(list(drive), list)
        return drive

    options = DriveOptions(T_base_camera=AHEAD)
    return make


def test_images_without_stamps_have_their_log_times(drive_of) -> None:
    """And so poses; that it was done is counted, once however often the drive is read."""
    logged = [START + i * SECOND for i in range(5)]
    drive = drive_of([0] * 5, logged)
    frames = list(drive)
    assert [frame.stamp_ns for frame in frames] == logged
    assert [frame.T_map_camera[0, 3] for frame in frames] == [0, 1, 2, 3, 4]
    assert tally_of(drive).count(f"image(s) {NO_STAMP}: their log time is used") == 5


def test_one_stamp_for_all_images(drive_of) -> None:
    """They were one place, and an SQL error for the second."""
    logged = [START + i * SECOND for i in range(5)]
    drive = drive_of([START] * 5, logged)
    assert [frame.stamp_ns for frame in drive] == logged
    assert tally_of(drive).count(f"image(s) {STANDING}: their log time is used") == 4


def test_doubled_and_late_images_are_left_out_and_counted(drive_of) -> None:
    headers = [START, START, START + 2 * SECOND, START + 2 * SECOND - 10, START + 3 * SECOND]
    logged = [START, START + 1000, START + 2 * SECOND, START + 2 * SECOND + 10, START + 3 * SECOND]
    drive = drive_of(headers, logged)
    assert [frame.stamp_ns for frame in drive] == [START, START + 2 * SECOND, START + 3 * SECOND]
    tally = tally_of(drive)
    assert tally.count(f"image(s) left out: {DUPLICATE}") == 1 and tally.count(f"image(s) left out: {LATE}") == 1
    assert len(tally.lines()) == 2


def test_a_clock_that_jumps_back_is_told(drive_of) -> None:
    """As in the node: what came before is forgotten, and the first image of then is lost, as it may have been late."""
    seconds = [10, 11, 12, 5, 6, 7]
    drive = drive_of([START + s * SECOND for s in seconds], [START + i * SECOND for i in range(6)])
    assert [(frame.stamp_ns - START) // SECOND for frame in drive] == [10, 11, 12, 6, 7]
    assert tally_of(drive).count("jump(s) back of the images' clock") == 1


def test_when_there_are_poses_is_known(drive_of) -> None:
    span = pose_span_of(drive_of([START], [START]))
    assert span is not None and span[:2] == (START - SECOND, START + 39 * SECOND)


def test_zero_zero_is_no_fix(tmp_path: Path, bag_by_hand) -> None:
    """Receivers that say 0, 0 with a good status put the map into zone 31, thousands of kilometres long."""

    def build(maker, add) -> None:
        for i in range(9):
            stamp = START + i * SECOND
            here = (0.0, 0.0) if i < 3 else (-33.87, 151.21 + 1e-4 * i)
            add("/fix", maker.fix(stamp, *here), stamp)
            add("/image", maker.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "sydney", build), DriveOptions(T_base_camera=AHEAD))
    poses = [frame.T_map_camera for frame in drive]
    assert drive.world == "utm 56 south" and [T is None for T in poses] == [True] * 3 + [False] * 6
    assert np.ptp([T[0, 3] for T in poses if T is not None]) < 60
    assert tally_of(drive).lines()[0].startswith("3 position(s) left out: 0, 0 is no fix")

    def exchanged(maker, add) -> None:
        for i in range(9):
            add("/fix", maker.fix(START + i * SECOND, 151.21 + 1e-4 * i, -33.87), START + i * SECOND)
            add("/image", maker.image(START + i * SECOND), START + i * SECOND)

    with pytest.raises(DriveError, match="latitude and longitude may be swapped"):
        open_drive(bag_by_hand(tmp_path / "swap", exchanged), DriveOptions(T_base_camera=AHEAD))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("a.bag", "rosbag reindex"),
        ("a.mcap", "mcap recover"),
        ("a.db3", "sqlite3 "),
        ("folder", "ros2 bag reindex"),
    ],
)
def test_advice_fits_the_file(tmp_path: Path, name: str, command: str) -> None:
    """mcap's tool is of no use to a ROS 1 bag."""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "metadata.yaml").write_text("rosbag2_bagfile_information: 5\n")
    else:
        path.write_bytes(b"no bag at all")
    with pytest.raises(DriveError, match=f"repair it with `{command}"):
        open_drive(path)


def test_a_compressed_file_of_a_bag_says_how_to_unpack_it(tmp_path: Path) -> None:
    """It was no drive of a known format: alone, or in a folder whose metadata.yaml was not copied."""
    file = tmp_path / "bag" / "bag_0.db3.zstd"
    file.parent.mkdir()
    file.write_bytes(b"")
    for path in (file, file.parent):
        with pytest.raises(
            DriveError, match=r"is a compressed bag.* unpack the file with `zstd -d .*bag_0\.db3\.zstd`"
        ):
            open_drive(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.mcap.zst", "unpack it with `zstd -d .*zst`"),
        ("a.bag.gz", "unpack it with `gzip -d .*gz`"),
        ("a.bag.active", "recording was cut off: end its name with .bag and run `rosbag reindex`"),
    ],
)
def test_a_bag_that_is_packed_or_not_ended_says_what_to_do(tmp_path: Path, name: str, says: str) -> None:
    """They were no drive of a known format, alone and in a folder."""
    (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(DriveError, match=says):
            open_drive(path)


def _second(maker, add) -> None:
    add("/pose", maker.pose(START, (0.0, 0.0, 0.0)), START)
    add("/image", maker.image(START), START)


@pytest.mark.parametrize("mcap", [False, True])
def test_a_whole_bag_with_a_wrong_metadata_is_not_called_damaged(tmp_path: Path, bag_by_hand, mcap: bool) -> None:
    """A renamed file, and a cut metadata.yaml, were answered with "record it again" and a repair of the whole file."""
    bag = bag_by_hand(tmp_path / "my bag", _second, mcap=mcap)
    (file,) = (path for path in bag.iterdir() if path.suffix != ".yaml")
    file = file.rename(bag / f"other{file.suffix}")
    for text in ("", (bag / "metadata.yaml").read_text()):
        (bag / "metadata.yaml").write_text(text)
        with pytest.raises(
            DriveError, match=r"metadata.yaml of .*reindex '.*my bag'`, or give a file, such as .*other\."
        ):
            open_drive(bag)
    assert len(open_drive(file, DriveOptions(T_base_camera=AHEAD))) == 1
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(DriveError, match=r"truncated or no bag .*repair it with `.* '.*my bag/other"):
        open_drive(bag)


def test_what_only_rosbags_cannot_read_is_not_called_damaged(tmp_path: Path, bag_by_hand) -> None:
    """SQLite's addresses end at # and ?; mcap files of ROS 1 and of other tools are whole, too."""
    bag = bag_by_hand(tmp_path / "bag", _second)
    bag = bag.rename(tmp_path / "run #3")
    with pytest.raises(DriveError, match=r"SQLite takes .* for its own: move or rename it"):
        open_drive(bag)
    file = bag_by_hand(tmp_path / "new", _second, mcap=True) / "new.mcap"
    whole = file.read_bytes()
    assert whole[17:25] == b"\x04\0\0\0ros2"
    file.write_bytes(whole[:24] + b"1" + whole[25:])
    with pytest.raises(DriveError, match="profile 'ros1', and those of ROS 2 are read: convert it"):
        open_drive(file)


def test_a_folder_of_ros1_bags_asks_for_one(tmp_path: Path) -> None:
    """`ros2 bag reindex` is of no use to them."""
    for name in ("a.bag", "b.bag"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DriveError, match=r"2 bag files and no metadata.yaml: give one of the files, such as .*a\.bag$"):
        open_drive(tmp_path)


def test_poses_without_stamps_are_counted(tmp_path: Path, bag_by_hand) -> None:
    """Their log times are used, as those of images are."""

    def build(maker, add) -> None:
        for i in range(3):
            stamp = START + i * SECOND
            add("/pose", maker.pose(0, (float(i), 0.0, 0.0)), stamp)
            add("/image", maker.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "unstamped", build), DriveOptions(T_base_camera=AHEAD))
    assert [frame.T_map_camera[0, 3] for frame in drive] == [0, 1, 2]
    assert tally_of(drive).lines() == ["3 pose(s) without a stamp: their log time is used (the first: /pose)"]


def test_sampling_goes_on_after_a_clock_that_jumped_back(drive_of) -> None:
    """All images were dropped until the clock was where it had been before."""
    seconds = [10, 11, 12, 5, 6, 7]
    drive = drive_of([START + s * SECOND for s in seconds], [START + i * SECOND for i in range(6)])
    assert [(frame.stamp_ns - START) // SECOND for frame in sample(drive, 1.0, 0.5)] == [10, 11, 12, 6, 7]


def test_a_thinned_drive_counts_what_has_no_pose(drive_of) -> None:
    """`vpr evaluate --every` left such images out in silence."""
    drive = SampledDrive(
        drive_of([START + s * SECOND for s in (0, 1, 90)], [START + i * SECOND for i in range(3)]), 1.0
    )
    assert len(list(drive)) == 2 and tally_of(drive).count(NO_POSE) == 1


def test_two_poses_of_one_time_are_counted(tmp_path: Path, bag_by_hand) -> None:
    """Two nodes that publish one transform, or a clock of coarse steps: the first stayed, without a word."""

    def build(maker, add) -> None:
        for i in range(3):
            stamp = START + i * SECOND
            for x in (i, i + 0.5):
                add("/pose", maker.pose(stamp, (float(x), 0.0, 0.0)), stamp)
                add("/tf", maker.transform(stamp, "odom", "base_link", (float(x), 0.0, 0.0)), stamp)
            add("/image", maker.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "two", build), DriveOptions(T_base_camera=AHEAD))
    assert tally_of(drive).lines() == [f"6 {TWO_POSES} (the first: odom to base_link)"]
    assert [frame.T_map_camera[0, 3] for frame in drive] == [0, 1, 2]
