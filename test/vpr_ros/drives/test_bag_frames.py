"""Whose pose a bag's topics hold: each is of a frame of its own, and of one robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import heading
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.left_out import without_poses
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.options import DriveOptions

START, PERIOD = 1_700_000_000 * 10**9, 10**8
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # a camera that looks ahead
LEFT = (0.0, 0.0, float(np.sqrt(0.5)), float(np.sqrt(0.5)))  # turned by 90 degrees to the left
RIGHT = (0.0, 0.0, -float(np.sqrt(0.5)), float(np.sqrt(0.5)))
AHEAD = (0.0, 0.0, 0.0, -np.pi / 2, 0.0, -np.pi / 2)


def stamps() -> range:
    return range(START, START + 5 * PERIOD, PERIOD)


def test_transforms_of_another_robot_are_not_ours(tmp_path: Path, bag_by_hand) -> None:
    """Two robots have a base_link each: poses between the two came out, without a word."""

    def build(make, add, image: str) -> None:
        mount = make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL)
        for robot in (1, 2):
            add(f"/robot{robot}/tf_static", mount, START)
        for i, stamp in enumerate(stamps()):
            add("/robot1/tf", make.transform(stamp, "map", "base_link", (float(i), 0.0, 0.0)), stamp)
            add("/robot2/tf", make.transform(stamp + 1, "map", "base_link", (1000.0 + i, 0.0, 0.0)), stamp)
            add(image, make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "one", lambda make, add: build(make, add, "/robot1/camera/image")))
    np.testing.assert_allclose([frame.T_map_camera[:3, 3] for frame in drive][3], [3, 0, 1], atol=1e-9)
    (line,) = tally_of(drive).lines()
    assert line.startswith("2 topic(s) of transforms left out: not of the images' namespace (the first: /robot2/tf")
    path = bag_by_hand(tmp_path / "neither", lambda make, add: build(make, add, "/camera/image"))
    with pytest.raises(
        DriveError, match="transforms of several robots, and none of the images' namespace: /robot1/tf,"
    ):
        open_drive(path)
    assert next(iter(open_drive(path, DriveOptions(T_base_camera=AHEAD)))).T_map_camera is None
    assert next(iter(open_drive(path, {"pose_topic": "none", "odom_topic": "none"}))).T_map_camera is None


@pytest.mark.parametrize("slash", ["/", ""])  # ROS 1 writes topics as they were asked for
@pytest.mark.parametrize(
    "names", [("tf", "robot/tf_static"), ("robot/tf", "tf_static"), ("robot/tf", "robot/tf_static")]
)
def test_one_robot_has_its_transforms_in_any_namespace(tmp_path: Path, bag_by_hand, slash: str, names) -> None:
    """The images of a driver that was not put into the namespace."""

    def build(make, add) -> None:
        add(slash + names[1], make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        for i, stamp in enumerate(stamps()):
            add(slash + names[0], make.transform(stamp, "map", "base_link", (float(i), 0.0, 0.0)), stamp)
            add(f"{slash}camera/image", make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "one.bag", build, ros1=True))
    np.testing.assert_allclose(list(drive)[3].T_map_camera[:3, 3], [3, 0, 1], atol=1e-9)
    assert not tally_of(drive)


def test_the_namespace_of_images_is_found_without_a_slash(tmp_path: Path, bag_by_hand) -> None:
    """Two robots in a ROS 1 bag."""

    def build(make, add) -> None:
        for robot in (1, 2):
            mount = make.transform(START, "base_link", "camera", (0.0, 0.0, float(robot)), OPTICAL)
            add(f"robot{robot}/tf_static", mount, START)
            for i, stamp in enumerate(stamps()):
                T = make.transform(stamp, "map", "base_link", (float(robot * 100 + i), 0.0, 0.0))
                add(f"robot{robot}/tf", T, stamp)
        for stamp in stamps():
            add("robot2/camera/image", make.image(stamp), stamp)

    frame = list(open_drive(bag_by_hand(tmp_path / "two.bag", build, ros1=True)))[3]
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [203, 0, 2], atol=1e-9)


@pytest.mark.parametrize("odom_topic", ["", "none"])
def test_odometry_of_a_sensor_beside_poses_of_the_base(tmp_path: Path, bag_by_hand, odom_topic: str) -> None:
    """Visual odometry is of its imu, the truth of base_link: all cameras of the map looked to the side."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        add("/tf_static", make.transform(START, "base_link", "imu", (2.0, 0.0, 0.0), LEFT), START)
        for i, stamp in enumerate(stamps()):
            add("/truth", make.pose(stamp, (float(i), 0.0, 0.0)), stamp)
            add("/vio", make.odometry(stamp, "imu", (2.0 + i, 0.0, 0.0), LEFT), stamp)
            add("/image", make.image(stamp), stamp)

    drive = open_drive(bag_by_hand(tmp_path / "vio", build), DriveOptions(odom_topic=odom_topic))
    for i, frame in enumerate(drive):
        for T in (frame.T_map_camera, frame.T_odom_camera):
            if T is not None:
                np.testing.assert_allclose(T[:3, 3], [i, 0, 1], atol=1e-9)
                assert heading(T) == pytest.approx(0)
        assert (frame.T_odom_camera is None) == (odom_topic == "none")


@pytest.mark.parametrize("child", ["imu", "/imu", "base_imu_link"])
def test_odometry_of_a_frame_that_no_transform_has_is_refused(tmp_path: Path, bag_by_hand, child: str) -> None:
    """Taken for the base's, it would be as far and as turned as the sensor is."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        for i, stamp in enumerate(stamps()):
            add("/vio", make.odometry(stamp, child, (2.0 + i, 0.0, 0.0), LEFT), stamp)
            add("/image", make.image(stamp), stamp)

    path = bag_by_hand(tmp_path / "vio", build)
    for options in ({}, {"pose_topic": "/vio", "odom_topic": "none"}):
        with pytest.raises(DriveError, match=rf"no transform from {child.lstrip('/')} to camera"):
            open_drive(path, options)
    for options in ({"base_frame": "base_link"}, {"T_base_camera": (0, 0, 1, *AHEAD[3:])}):  # said by who knows
        np.testing.assert_allclose(list(open_drive(path, DriveOptions(**options)))[1].T_odom_camera[:3, 3], [3, 0, 1])


def test_truth_that_moves_in_tf_beside_the_robot(tmp_path: Path, bag_by_hand) -> None:
    """A simulator's true base beside the estimated one: through the map, the estimate came out as its own truth."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        for i, stamp in enumerate(stamps()):
            add("/tf", make.transform(stamp, "map", "base_link", (3.0 + i, 0.0, 0.0)), stamp)
            add("/tf", make.transform(stamp, "map", "base_link_true", (float(i), 0.0, 0.0)), stamp)
            add("/true", make.odometry(stamp, "base_link_true", (float(i), 0.0, 0.0), parent="map"), stamp)
            add("/image", make.image(stamp), stamp)

    path, given = bag_by_hand(tmp_path / "sim", build), {"pose_topic": "/true", "odom_topic": "none"}
    with pytest.raises(DriveError, match=r"no transform from base_link_true to camera .*base_frame"):
        open_drive(path, given)
    frame = list(open_drive(path, {**given, "base_frame": "base_link"}))[2]
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [2, 0, 1], atol=1e-9)


def test_odometry_in_a_frame_of_the_robot(tmp_path: Path, bag_by_hand) -> None:
    """Some drivers name the base where the frame of the poses is meant: it is no world for that."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        for i, stamp in enumerate(stamps()):
            add("/odom", make.odometry(stamp, "base_link", (float(i), 0.0, 0.0), parent="base_link"), stamp)
            add("/image", make.image(stamp), stamp)

    frame = list(open_drive(bag_by_hand(tmp_path / "odom", build)))[2]
    np.testing.assert_allclose(frame.T_odom_camera[:3, 3], [2, 0, 1], atol=1e-9)


def test_truth_that_is_odometry_of_a_lidar(tmp_path: Path, bag_by_hand) -> None:
    """Its child frame says what it is the pose of; wheels beside it are of the base."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        add("/tf_static", make.transform(START, "base_link", "lidar", (2.0, 0.0, 1.0), RIGHT), START)
        for i, stamp in enumerate(stamps()):
            add("/lidar", make.odometry(stamp, "lidar", (2.0 + i, 0.0, 1.0), RIGHT, "map"), stamp)
            add("/wheels", make.odometry(stamp, "base_link", (float(i), 0.0, 0.0)), stamp)
            add("/image", make.image(stamp), stamp)

    path = bag_by_hand(tmp_path / "lidar", build)
    given = {"pose_topic": "/lidar", "odom_topic": "/wheels"}
    for i, frame in enumerate(open_drive(path, given)):
        np.testing.assert_allclose(frame.T_map_camera[:3, 3], [i, 0, 1], atol=1e-9)
        np.testing.assert_allclose(frame.T_odom_camera, frame.T_map_camera, atol=1e-9)
    frame = list(open_drive(path, {**given, "base_frame": "base_link"}))[1]  # what is set wins
    np.testing.assert_allclose(frame.T_map_camera[:3, 3], [3, 0, 2], atol=1e-9)
    mounted = DriveOptions(T_base_camera=(0, 0, 1, *AHEAD[3:]), pose_topic="/lidar", odom_topic="/wheels")
    np.testing.assert_allclose(list(open_drive(path, mounted))[2].T_map_camera[:3, 3], [2, 0, 1], atol=1e-9)


def fixes(path: Path, bag_by_hand, base: str = "base_link", **antenna) -> list:
    """Frames of a bag with fixes; their frame_id is gps. antenna: keywords of where that is; none: not said."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, base, "camera", (0.0, 0.0, 0.0), OPTICAL), START)
        for i, stamp in enumerate(stamps()):
            if antenna:
                late = antenna.get("late", False)
                transform = make.transform(stamp + late, antenna["parent"], "gps", antenna["position"])
                add("/tf" if late else "/tf_static", transform, stamp + late)
            add("/tf", make.transform(stamp, "map", base, (500.0 + 7 * i, 300.0, 0.0)), stamp)
            add("/fix", make.fix(stamp, 51.75, -1.25 + 1e-4 * i), stamp)
            add("/image", make.image(stamp), stamp)

    return open_drive(bag_by_hand(path, build), {} if base == "base_link" else {"base_frame": base})


@pytest.mark.parametrize("base", ["base_link", "base_footprint"])
@pytest.mark.parametrize("late", [0, PERIOD // 2])  # in /tf, from some time on
def test_a_fix_is_of_its_antenna(tmp_path: Path, bag_by_hand, base: str, late: int) -> None:
    """Three metres behind the base and two to the left: the map was as far off."""
    at_base = list(fixes(tmp_path / "base", bag_by_hand, base))[2].T_map_camera
    drive = fixes(tmp_path / "behind", bag_by_hand, base, parent=base, position=(-3.0, 2.0, 1.0), late=late)
    off = at_base[:3, :3].T @ (list(drive)[2].T_map_camera[:3, 3] - at_base[:3, 3])
    np.testing.assert_allclose(off, [2, 1, 3], atol=1e-6)  # of the optical frame: right, down, ahead
    assert not tally_of(drive)


def test_a_fix_in_a_frame_of_the_world_has_no_antenna(tmp_path: Path, bag_by_hand) -> None:
    """Simulators name the world: the track was moved by where the robot is in the map."""
    plain = fixes(tmp_path / "plain", bag_by_hand)
    drive = fixes(tmp_path / "world", bag_by_hand, parent="map", position=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(list(drive)[2].T_map_camera, list(plain)[2].T_map_camera)
    (line,) = tally_of(drive).lines()
    assert line == (
        "1 topic(s) of fixes are taken for the place of base_link: no transform to the antenna (/fix, frame_id 'gps')"
    )


def test_a_bag_of_depth_alone_has_no_images(tmp_path: Path, bag_by_hand) -> None:
    """Depth is never what a map is made of; whoever wants it says so. Aligned depth was taken for images."""
    for number, topic in enumerate(
        ("/camera/depth/image", "/camera/aligned_depth_to_color/image_raw", "/zed/depth_registered", "/disparity_image")
    ):
        depth = bag_by_hand(tmp_path / f"{number}", lambda make, add: add(topic, make.image(START), START))  # noqa: B023
        with pytest.raises(DriveError, match=rf"has no images of a camera; its topics are {topic}: .*image_topic"):
            open_drive(depth)
        assert len(open_drive(depth, {"image_topic": topic})) == 1

    def beside(make, add) -> None:
        for topic in ("/camera/aligned_depth_to_color/image_raw", "/depth_camera/image_raw"):
            add(topic, make.image(START), START)

    assert open_drive(bag_by_hand(tmp_path / "d", beside)).image_topic == "/depth_camera/image_raw"


def test_a_calibration_beside_a_broken_image_stays(tmp_path: Path, bag_by_hand) -> None:
    """The first image cannot say which shape it has; the others can be measured all the same."""
    K = [5.0, 0.0, 3.0, 0.0, 5.0, 2.0, 0.0, 0.0, 1.0]

    def build(make, add) -> None:
        add("/camera_info", make.info(START, (6, 4), K, [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]), START)
        for stamp in stamps():
            image = make.image(stamp)
            image.data = image.data[: 5 if stamp == START else None]
            add("/image", image, stamp)

    drive = open_drive(bag_by_hand(tmp_path / "i", build))
    assert drive.intrinsics is not None and len(list(drive)) == 5


def test_a_calibration_of_another_shape_is_left_out(tmp_path: Path, bag_by_hand, caplog) -> None:
    """1280 x 720 pixels of another stream, beside images of 6 x 4."""
    K = [900.0, 0.0, 640.0, 0.0, 900.0, 360.0, 0.0, 0.0, 1.0]

    def build(make, add) -> None:
        add("/camera_info", make.info(START, (1280, 720), K, [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]), START)
        add("/image", make.image(START), START)

    assert open_drive(bag_by_hand(tmp_path / "i", build)).intrinsics is None
    assert "the calibration is for 1280 x 720 pixels, but the images are 6 x 4; read without" in caplog.text


def test_transforms_that_contradict_each_other_are_counted(tmp_path: Path, bag_by_hand) -> None:
    """The later one won without a word: a mounting that moved by metres, a base that is in odom and in map."""

    def build(make, add) -> None:
        for height in (1.0, 1.0, 2.0):
            add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, height), OPTICAL), START)
        add("/tf", make.transform(START, "odom", "base_link", (0.0, 0.0, 0.0)), START)
        add("/tf", make.transform(START, "map", "base_link", (5.0, 0.0, 0.0)), START)
        add("/image", make.image(START), START)

    drive = open_drive(bag_by_hand(tmp_path / "two", build))
    replaced, parents = tally_of(drive).lines()
    assert replaced.startswith("1 fixed transform(s) differ") and replaced.endswith("(base_link to camera)")
    assert (
        parents.startswith("1 frame(s) have transforms from two others") and "base_link, in odom and in map" in parents
    )
    assert next(iter(drive)).T_map_camera[:3, 3].tolist() == [5, 0, 2]


@pytest.mark.parametrize(("option", "frame"), [("pose_topic=/odom", ""), ("map_frame=world", "world")])
def test_a_bag_without_true_poses_says_which_it_has(tmp_path: Path, bag_by_hand, option: str, frame: str) -> None:
    """Odometry, and a map of another name, were "no poses"."""

    def build(make, add) -> None:
        add("/tf_static", make.transform(START, "base_link", "camera", (0.0, 0.0, 1.0), OPTICAL), START)
        if frame:
            add("/tf", make.transform(START, frame, "base_link", (0.0, 0.0, 0.0)), START)
        else:
            add("/odom", make.odometry(START, "base_link", (0.0, 0.0, 0.0)), START)
        add("/image", make.image(START), START)

    bag = bag_by_hand(tmp_path / "bag", build)
    drive = open_drive(bag)
    assert str(without_poses(drive, [START], "so")).endswith(f"true poses, give -d {option}")
    key, _, value = option.partition("=")
    (frame_of_drive,) = open_drive(bag, {key: value})
    assert frame_of_drive.T_map_camera is not None
