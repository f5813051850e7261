"""KITTI: an upright world, the colour camera's place, stereo depth, and the real sequence where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import heading
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.open import DriveOptions, open_drive

DATA = Path(os.environ.get("VPR_TEST_DATA", Path(__file__).resolve().parents[3].parent / "shared" / "data"))
F, BASELINE = 80.0, 0.5
SIZE = (64, 160)


def write_sequence(root: Path) -> Path:
    """Three frames, 1 m ahead each, the last one turned left by 0.3; a textured wall 8 m ahead for the stereo pair."""
    sequence = root / "sequences/07"
    texture = np.random.default_rng(0).integers(0, 255, (SIZE[0], SIZE[1] + 50), np.uint8)
    texture = cv2.GaussianBlur(texture, (3, 3), 0)
    disparity = round(F * BASELINE / 8)
    for camera, shift in (("image_0", 0), ("image_1", disparity), ("image_2", 0)):
        (sequence / camera).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(sequence / camera / f"{i:06d}.png"), texture[:, shift : shift + SIZE[1]])
    (sequence / "times.txt").write_text("0.0\n1.0e-01\n2.0e-01\n")
    intrinsics = f"{F} 0 80 {{}} 0 {F} 32 0 0 0 1 0"
    lines = [f"P{i}: {intrinsics.format(tx)}" for i, tx in enumerate((0, -F * BASELINE, F * 0.06, 0))]
    (sequence / "calib.txt").write_text("\n".join(lines) + "\n")
    c, s = np.cos(-0.3), np.sin(-0.3)  # about y, which points down: negative turns left
    poses = ["1 0 0 0 0 1 0 0 0 0 1 0", "1 0 0 0 0 1 0 -0.1 0 0 1 1", f"{c} 0 {s} -0.2 0 1 0 0 {-s} 0 {c} 2"]
    (root / "poses").mkdir()
    (root / "poses/07.txt").write_text("\n".join(poses) + "\n")
    return sequence


def test_the_world_is_upright(tmp_path: Path) -> None:
    """Forward is +x, left +y, up +z; image_2 lies to the left of the first camera by its entry in calib.txt."""
    sequence = write_sequence(tmp_path)
    drive = open_drive(sequence, DriveOptions(camera="image_0"))
    frames = list(drive)
    assert (drive.name, drive.world, len(drive)) == ("07", "kitti 07", 3)
    assert [f.stamp_ns for f in frames] == [0, 100_000_000, 200_000_000]
    np.testing.assert_allclose(frames[1].T_map_camera[:3, 3], [1, 0, 0.1], atol=1e-9)
    np.testing.assert_allclose(frames[2].T_map_camera[:3, 3], [2, 0.2, 0], atol=1e-9)
    assert heading(frames[0].T_map_camera) == pytest.approx(0)
    assert heading(frames[2].T_map_camera) == pytest.approx(0.3)
    colour = next(iter(open_drive(tmp_path)))  # the root will do where it holds one sequence
    np.testing.assert_allclose(colour.T_map_camera[:3, 3], [0, 0.06, 0], atol=1e-9)
    assert colour.read_depth is None and colour.read().shape == (*SIZE, 3)
    camera = colour.intrinsics
    assert (camera.height, camera.width, camera.distortion) == (*SIZE, ())
    np.testing.assert_allclose(camera.K, [[F, 0, 80], [0, F, 32], [0, 0, 1]])


def test_stereo_depth(tmp_path: Path) -> None:
    """A wall 8 m ahead is 8 m ahead."""
    frame = next(iter(open_drive(write_sequence(tmp_path), DriveOptions(camera="image_0"))))
    depth = frame.read_depth()
    assert depth.shape == SIZE and depth.dtype == np.float32
    seen = depth[depth > 0]
    assert len(seen) > 0.5 * depth.size and np.median(np.abs(seen - 8)) < 0.2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    sequence = write_sequence(tmp_path)
    with pytest.raises(DriveError, match=r"no images in .*image_3: give another camera"):
        open_drive(sequence, DriveOptions(camera="image_3"))
    (sequence / "times.txt").write_text("0\n")
    with pytest.raises(DriveError, match=r"times.txt has 1 lines.*000002.png would need line 3"):
        open_drive(sequence)
    (sequence / "times.txt").unlink()
    with pytest.raises(DriveError, match=r"times.txt is missing: it holds the images' times"):
        open_drive(sequence)
    (tmp_path / "sequences/08").mkdir()
    with pytest.raises(DriveError, match=r"several sequences: give one of"):
        open_drive(tmp_path)


def test_an_image_has_the_line_of_its_number(tmp_path: Path) -> None:
    """Images that are missing move no other's time and pose; a number beyond the tables is a sentence."""
    sequence = write_sequence(tmp_path)
    (sequence / "image_2/000001.png").unlink()
    cv2.imwrite(str(sequence / "image_2/cover.png"), np.zeros((*SIZE, 3), np.uint8))
    drive = open_drive(sequence)
    frames = list(drive)
    assert [f.stamp_ns for f in frames] == [0, 200_000_000] and len(drive) == 2
    np.testing.assert_allclose(frames[1].T_map_camera[0, 3], 2 + 0.06 * np.sin(-0.3), atol=1e-6)
    assert tally_of(drive).lines()[0].startswith("1 image(s) left out: their names are not numbers")
    (sequence / "image_2/000000.png").rename(sequence / "image_2/000003.png")
    with pytest.raises(DriveError, match=r"times.txt has 3 lines.*000003.png would need line 4"):
        open_drive(sequence)
    (sequence / "image_2/3.png").write_bytes((sequence / "image_2/000003.png").read_bytes())
    with pytest.raises(DriveError, match=r"3.png and .*3.png have the same number"):
        open_drive(sequence)


@pytest.mark.parametrize("name", ["poses/07.txt", "sequences/07/times.txt"])
def test_a_blank_line_moves_no_image(tmp_path: Path, name: str) -> None:
    """It gave every later image the pose or the time of its neighbour; at the end of the file it does no harm."""
    sequence = write_sequence(tmp_path)
    path = tmp_path / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "", " ", ""]))
    assert len(list(open_drive(sequence))) == 3
    path.write_text("\n".join([lines[0], "", *lines[1:], lines[-1]]))
    with pytest.raises(DriveError, match=f"{path.name} is damaged: line 2 needs"):
        open_drive(sequence)


def test_a_linked_sequence_has_the_poses_beside_the_link(tmp_path: Path) -> None:
    """Sequences on another disk lost their poses; the world is the pose file's."""
    sequence = write_sequence(tmp_path / "kitti")
    sequence.rename(tmp_path / "disk")
    sequence.symlink_to(tmp_path / "disk")
    drive = open_drive(sequence)
    assert drive.name == "07" and next(iter(drive)).T_map_camera is not None
    link = tmp_path / "latest"
    link.symlink_to(write_sequence(tmp_path / "other"))
    drive = open_drive(link)
    assert drive.world == "kitti 07" and next(iter(drive)).T_map_camera is not None


def test_poses_may_lie_in_the_sequence(tmp_path: Path) -> None:
    """As in SemanticKITTI: the sequence was said to have none."""
    sequence = write_sequence(tmp_path)
    beside = [frame.T_map_camera for frame in open_drive(sequence)]
    (tmp_path / "poses/07.txt").rename(sequence / "poses.txt")
    drive = open_drive(sequence)
    np.testing.assert_allclose([frame.T_map_camera for frame in drive], beside)
    assert drive.world == "kitti 07"


def test_without_poses_there_are_none(tmp_path: Path) -> None:
    sequence = write_sequence(tmp_path)
    (tmp_path / "poses/07.txt").unlink()
    assert all(frame.T_map_camera is None for frame in open_drive(sequence))


@pytest.mark.skipif(not (DATA / "kitti").is_dir(), reason="needs KITTI sequence 91 under VPR_TEST_DATA")
def test_the_real_sequence() -> None:
    """51 grey pairs: about 1 m a frame, forward and level, with dense depth that agrees with the street's scale."""
    drive = open_drive(DATA / "kitti/sequences/91")
    frames = list(drive)
    assert len(drive) == len(frames) == 51 and frames[0].read().ndim == 3
    positions = np.array([f.T_map_camera[:3, 3] for f in frames])
    assert positions[-1, 0] > 20 and np.abs(positions[:, 2]).max() < 3
    depth = frames[0].read_depth()
    assert (depth > 0).mean() > 0.4 and 5 < np.median(depth[depth > 0]) < 40


@pytest.mark.skipif(not (DATA / "gardens_point").is_dir(), reason="needs Gardens Point under VPR_TEST_DATA")
def test_a_real_folder() -> None:
    """200 images in order; truth is their number, so there are no poses."""
    frames = list(open_drive(DATA / "gardens_point/day_left"))
    assert len(frames) == 200 and frames[0].read().shape == (540, 960, 3)
    assert [f.stamp_ns for f in frames] == sorted(f.stamp_ns for f in frames)
    assert all(f.T_map_camera is None for f in frames)
