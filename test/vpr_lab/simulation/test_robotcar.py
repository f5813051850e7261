"""A simulated run must read back through the RobotCar reader as what it was: signs, frames, mosaics, times."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.drives import Motion, SimulatedDrive
from vpr_lab.simulation.robotcar import ORIGIN_EASTING, ORIGIN_NORTHING, mosaic, write_robotcar
from vpr_ros.base.errors import ConfigError, DriveError
from vpr_ros.base.geometry import inverse
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.options import DriveOptions


@pytest.fixture(scope="module")
def drive(town, renderer):
    return SimulatedDrive(
        town,
        Condition.preset("overcast", 1),
        renderer=renderer,
        motion=Motion(every_m=1.0, length_m=12.0, start_m=60.0),
    )


@pytest.fixture(scope="module")
def run(drive, tmp_path_factory):
    return write_robotcar(tmp_path_factory.mktemp("robotcar"), drive)


@pytest.mark.parametrize("source", ["rtk", "ins"])
def test_true_poses_come_back_to_a_micrometre(drive, run, source):
    """NED in the file, ENU in the map, the INS's place on the car: each undone once."""
    read = list(open_drive(run, DriveOptions(pose_source=source, camera="stereo/centre")))
    assert [frame.stamp_ns for frame in read] == drive.stamps_ns.tolist()
    T = np.stack([frame.T_map_camera for frame in read])
    T[:, :3, 3] -= [ORIGIN_EASTING, ORIGIN_NORTHING, 0.0]
    assert np.abs(T - drive.T_map_camera).max() < 1e-6


def test_odometry_comes_back_step_by_step(drive, run):
    """vo.csv's steps are those of the drifting odometry, in whatever frame the reader starts."""
    T = np.stack([frame.T_odom_camera for frame in open_drive(run, DriveOptions())])
    told = inverse(T[:-1]) @ T[1:]
    true = inverse(drive.T_odom_camera[:-1]) @ drive.T_odom_camera[1:]
    assert np.abs(told - true).max() < 1e-6


def test_images_and_depth_come_back(drive, run):
    """Through mosaic, PNG and demosaicing only fine detail is lost; depth to 1/256 m."""
    for written, read in zip(drive, open_drive(run, DriveOptions()), strict=True):
        difference = np.abs(written.read().astype(float) - read.read())
        assert difference[2:-2, 2:-2].mean() < 6
        assert read.read_depth is not None and written.read_depth is not None
        assert np.abs(np.minimum(written.read_depth(), 255.99) - read.read_depth()).max() <= 1 / 256


def test_scans_lie_on_what_the_camera_sees(drive, run):
    """Depth computed from the lidar agrees with rendered depth where a ray met ground or wall in the open."""
    (run / "depth").rename(run / "kept")
    try:
        frame, true = list(open_drive(run, DriveOptions()))[2], drive[2].read_depth()
        assert frame.read_depth is not None
        sparse = frame.read_depth()
    finally:
        (run / "kept").rename(run / "depth")
    known = (sparse > 0) & (true > 0)
    assert known.sum() > 50
    assert np.median(np.abs(sparse[known] / true[known] - 1)) < 0.1


def test_files_are_named_as_published(run):
    """Others' RobotCar tools read them too."""
    assert run.name.count("-") == 5
    lines = (run / "stereo.timestamps").read_text().splitlines()
    assert len(lines) == 12 and all(line.split()[1] == "1" for line in lines)
    assert (run / f"stereo/centre/{lines[0].split()[0]}.png").is_file()
    assert (run.parent / "models/stereo_narrow_left_distortion_lut.bin").stat().st_size == 2 * 8 * 160 * 120
    header = (run / "gps/ins.csv").read_text().splitlines()[0]
    assert header.startswith("timestamp,ins_status,latitude,longitude,altitude,northing,easting,down,utm_zone")


def test_mosaic_is_gbrg():
    """Green blue over red green, as the Bumblebee's."""
    image = np.zeros((2, 2, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    assert mosaic(image, "gbrg").tolist() == [[20, 30], [10, 20]]


def test_mistakes_are_one_sentence(drive, run):
    """Another camera, or a run that is there already."""
    with pytest.raises(ConfigError, match="unknown camera 'stereo/right'"):
        write_robotcar(run.parent, drive, camera="stereo/right")
    with pytest.raises(DriveError, match="exists already"):
        write_robotcar(run.parent, drive)
