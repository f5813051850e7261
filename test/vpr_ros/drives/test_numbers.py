"""Frame numbers in the names of images: those that count them, and no times."""

from __future__ import annotations

from pathlib import Path

import pytest
from drive_files import images

from vpr_ros.drives.open import open_drive
from vpr_ros.drives.views import NumberedDrive


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["im_000.png", "im_002.png", "im_003.png"], [0, 2, 3]),  # an image is missing
        (["left-7-b.png", "left-8-b.png"], [7, 8]),
        (["1700000000.png", "1700000001.png"], [0, 1]),  # times, not numbers
        (["a.png", "b1.png"], [0, 1]),
        (["a1.png", "b1.png"], [0, 1]),
    ],
)
def test_numbered_images_are_those_of_their_names(tmp_path: Path, names: list[str], numbers: list[int]) -> None:
    """One lost image moved all that came after it away from those of the same number in another drive."""
    drive = NumberedDrive(open_drive(images(tmp_path / "walk", names)))
    assert [frame.T_map_camera[0, 3] for frame in drive] == numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["frame_7.png", "frame_9.png", "frame_10.png"], [7, 9, 10]),
        (["f_2_720p.png", "f_3_720p.png"], [2, 3]),
        (["0000100.png", "0000101.png", "0000108.png"], [100, 101, 108]),  # a part of a recording
        (["0.png", "200.png", "400.png"], [0, 200, 400]),
        (["20231114_0007.png", "20231114_0009.png"], [7, 9]),
        (["2023-05-12_000000.png", "2023-05-12_000002.png"], [0, 2]),
        (["run1.0001.png", "run1.0003.png"], [1, 3]),
        (["IMG_20231114_101010.png", "IMG_20231114_101011.png"], [0, 1]),
        (["2023-11-14-10-20-05.png", "2023-11-14-10-20-06.png"], [0, 1]),
        (["1700000000.5.png", "1700000001.5.png"], [0, 1]),
        ([f"2024-01-15 10.{m}.{s:02d}.png" for m, s in ((30, 58), (30, 59), (31, 0), (31, 1))], [0, 1, 2, 3]),
        (["10.5.png", "11.2.png", "12.9.png", "13.4.png"], [0, 1, 2, 3]),
        (["10.5.png", "11.6.png", "12.7.png"], [0, 1, 2]),
        (["6.png", "6b.png", "7.png"], [0, 1, 2]),
    ],
)
def test_names_number_images_only_if_they_count_them(tmp_path, caplog, names, numbers):
    """Tenths of a second, or the seconds of a minute, were taken for places: 57, 58, 59, 0, 1. Images 100 to 108 of a
    recording became 0 to 8, and R@1 was 0.
    """
    drive = NumberedDrive(open_drive(images(tmp_path / "walk", names)))
    assert [int(frame.T_map_camera[0, 3]) for frame in drive] == numbers
    assert ("are numbered in order, from 0" in caplog.text) == (numbers[:2] == [0, 1])


def test_numbers_that_may_be_times_are_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Milliseconds in the names are metres with --numbered: no image of another drive has that number."""
    NumberedDrive(open_drive(images(tmp_path / "ms", ["0.png", "33.png", "66.png"])))
    assert "rise by 33 from image to image" in caplog.text
    caplog.clear()
    NumberedDrive(open_drive(images(tmp_path / "n", ["0.png", "1.png", "9.png"])))
    assert not caplog.text
