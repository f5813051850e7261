"""Images named by their UTM positions: zones, headings, and names that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drive_files import images

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import heading
from vpr_ros.drives.drive import tally_of
from vpr_ros.drives.open import DriveOptions, open_drive, open_drives


def test_names_with_utm_positions(tmp_path: Path) -> None:
    """Position, height, and a compass heading (clockwise from true north) turned into ours; it may be missing.

    1.74 degrees east of the zone's middle and 51.8 north, the grid is 1.37 degrees off true north.
    """
    names = [
        "@0620084.40@5735712.77@30@U@51.7@-1.2@pano@@90@@@61.5@201412@@.jpg",
        "@0620090.00@5735712.77@30@U@@@@@@@@@@@.jpg",
        "@0620095.00@5735712.77@.jpg",
    ]
    drive = open_drive(images(tmp_path / "database", names))
    frames = list(drive)
    assert drive.world == "utm 30 north" and len(drive) == 3
    np.testing.assert_allclose(frames[0].T_map_camera[:3, 3], [620084.40, 5735712.77, 61.5])
    assert heading(frames[0].T_map_camera) == pytest.approx(np.radians(1.37), abs=1e-3)  # east
    assert heading(frames[1].T_map_camera) == pytest.approx(np.pi / 2 + np.radians(1.37), abs=1e-3)  # unknown: north
    assert frames[2].T_map_camera[0, 3] == 620095
    images(tmp_path / "bad", ["@east@north@.jpg"])
    with pytest.raises(DriveError, match="'east', not a number"):
        list(open_drive(tmp_path / "bad"))


def test_names_that_cannot_be_utm_are_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Degrees, and east and north swapped, were places millimetres apart, or off the zone, without a word."""
    for name in ("@48.1@11.5@32@U@.jpg", "@5300000@500000@32@U@.jpg"):
        caplog.clear()
        open_drive(images(tmp_path / name, [name]))
        assert "do not look like UTM coordinates" in caplog.text
    caplog.clear()
    folder = images(tmp_path / "right", ["@500000@5300000@32@U@.jpg"])
    images(folder / ".thumbnails", ["@500000@5300000@32@U@.jpg"])  # hidden, and no image of its own
    assert len(open_drive(folder)) == 1 and not caplog.text


def test_zones_and_names_of_utm_folders(tmp_path: Path) -> None:
    """The band letter is not the hemisphere's; a latitude decides; two zones cannot be told apart later."""
    names = {"s": "@1@2@13@S@.jpg", "h": "@1@2@56@H@-33.9@151@.jpg", "n": "@1@2@56@S@-1.0@151@.jpg"}
    worlds = {key: open_drive(images(tmp_path / key, [name])).world for key, name in names.items()}
    assert worlds == {"s": "utm 13 north", "h": "utm 56 south", "n": "utm 56 south"}
    bands = images(tmp_path / "bands", ["@1@2@13@S@.jpg", "@9@2@13@T@@@@@90@.jpg", "cover.jpg"])
    drive = open_drive(bands)
    assert drive.world == "utm 13 north" and len(drive) == 2
    assert tally_of(drive).lines() == [
        "1 image(s) left out: no position in their names (cover.jpg)",
        "1 image(s) have no heading in their names and are taken to look north (@1@2@13@S@.jpg)",
    ]
    with pytest.raises(DriveError, match=r"several UTM zones: utm 13 north .*, utm 14 north"):
        open_drive(images(tmp_path / "two", ["@1@2@13@S@.jpg", "@9@2@14@T@.jpg"]))


def test_utm_coordinates_stay_so_in_any_world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only the name of the world changed: two zones in one map, 430 km apart. Frames without a zone take any name."""
    beyond = images(tmp_path / "d", ["@290000@5540000@32@U@@@@@90@.jpg"])
    (frame,) = open_drive(beyond, DriveOptions(world="utm 31 north"))
    np.testing.assert_allclose(frame.T_map_camera[:2, 3], [720188.5, 5540408.9], atol=0.1)
    # Of true east: 3.07 degrees east of that zone's middle and 50 north.
    assert heading(frame.T_map_camera) == pytest.approx(np.radians(3.07 * np.sin(np.radians(50))), abs=1e-3)
    degrees = images(tmp_path / "degrees", ["a.png", "b.png"])
    (degrees / "poses.csv").write_text("file,lat,lon\na.png,50,6.001\nb.png,50,6.002\n")
    for folder in (beyond, degrees):
        assert open_drive(folder, DriveOptions(world="campus")).world == "campus"
    west = images(tmp_path / "west", ["@700000@5540000@31@U@@@@@90@.jpg"])
    with pytest.raises(DriveError, match="lie in utm 31 north and utm 32 north, so they cannot share a world 'campus'"):
        open_drives([west, degrees], DriveOptions(world="campus"))
    metres = images(tmp_path / "metres", ["a.png"])
    (metres / "poses.csv").write_text("file,x,y,yaw\na.png,1,2,0\n")
    assert open_drive(metres, DriveOptions(world="campus")).world == "campus"
    assert not caplog.messages
    assert open_drive(metres, DriveOptions(world="utm 31 north")).world == "utm 31 north"
    assert "do not look like UTM coordinates, as the first is 1.0 m east and 2.0 m north" in caplog.text


def test_a_set_of_images_is_no_trip(tmp_path: Path) -> None:
    """Names sort by easting, so that neighbours in the set lie in different streets. Rows in time are a trip."""
    streets = [(10 * east + 3 * k, 100 * north) for k, north in enumerate((0, 2, 1)) for east in range(12)]
    named = images(tmp_path / "named", [f"@{500000 + x}@{5700000 + y}@30@U@.jpg" for x, y in streets])
    assert not open_drive(named).is_trip
    driven = images(tmp_path / "driven", [f"{k:02d}.png" for k in range(len(streets))])
    rows = [f"{k:02d}.png,{k},{x},{y},0.0" for k, (x, y) in enumerate(streets)]
    (driven / "poses.csv").write_text("\n".join(["file,stamp,x,y,yaw", *rows]))
    assert open_drive(driven).is_trip


def test_names_far_from_any_zone_and_without_a_letter_keep_or_turn_their_heading(tmp_path: Path) -> None:
    """Millimetres gave -45 degrees; a zone without a letter gets its hemisphere, and its grid, from the option."""
    far = images(tmp_path / "far", ["@320000000@5812000000@55@H@@@@@90@.jpg"])
    (frame,) = open_drive(far)
    assert heading(frame.T_map_camera) == pytest.approx(0, abs=1e-9)
    bare, whole = (
        images(tmp_path / f"zone{letter}", [f"@320000@5812000@55@{letter}@@@@@90@.jpg"]) for letter in ("", "H")
    )
    (without,), (with_letter,) = open_drive(bare, DriveOptions(world="utm 55 south")), open_drive(whole)
    assert heading(without.T_map_camera) == pytest.approx(heading(with_letter.T_map_camera), abs=1e-9)
    assert abs(np.degrees(heading(without.T_map_camera))) > 1
