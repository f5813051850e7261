"""Drives go to other processes and machines, which open them again: the same frames must come out."""

from __future__ import annotations

import pickle

import cv2
import pytest

from vpr_ros.drives.bag import write_bag
from vpr_ros.drives.guard import GuardedDrive
from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import MovedDrive, NumberedDrive


@pytest.fixture
def opened(tmp_path, painted_drive):
    """A bag, a folder of images, and views of them."""
    bag = open_drive(write_bag(tmp_path / "bag", painted_drive(length=20.0)) or tmp_path / "bag")
    bag.name, bag.world = "renamed", "campus"
    folder = tmp_path / "folder"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k}.png"), painted_drive().image(5.0 * k))
    images = open_drive(folder)
    return [bag, images, NumberedDrive(images), GuardedDrive(bag, "mine", bag.path), MovedDrive(bag, abs)]


def test_a_drive_comes_out_of_a_pickle_as_it_went_in(opened):
    for drive in opened:
        copy = pickle.loads(pickle.dumps(drive))
        assert (copy.name, copy.world, len(copy), copy.path) == (drive.name, drive.world, len(drive), drive.path)
        for frame, other in zip(drive, copy, strict=True):
            assert frame.stamp_ns == other.stamp_ns and (frame.read() == other.read()).all()
            assert (frame.T_map_camera is None) == (other.T_map_camera is None)
            if frame.T_map_camera is not None:
                assert (frame.T_map_camera == other.T_map_camera).all()
