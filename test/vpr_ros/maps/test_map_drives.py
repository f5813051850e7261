"""Two drives of one name are two, one drive is one wherever it lies, and every job ends with what it left out."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.drives.left_out import NO_POSE, UNREADABLE
from vpr_ros.drives.open import DriveOptions, open_drive, open_drives
from vpr_ros.localize.held_out import describe_drive
from vpr_ros.maps.builder import add_drive, build_map
from vpr_ros.maps.editor import merge_maps
from vpr_ros.maps.info import map_info
from vpr_ros.maps.place_map import PlaceMap
from vpr_ros.maps.stages import INVALID_POSE


def walk(folder: Path, painted_drive, start: float, count: int = 6, options: str = "") -> Path:
    """A folder of images 5 m apart with a poses.csv without times: stamps begin at zero in every one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,x,y,yaw"]
    for i in range(count):
        along = start + 5.0 * i
        cv2.imwrite(str(folder / f"{i}.png"), painted_drive().image(along)[:, :, ::-1])
        rows.append(f"{i}.png,{along if options != 'unposed' or i % 2 else ''},0,0")
    (folder / "poses.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def week(tmp_path, painted_drive) -> list[Path]:
    """Two walks that share no image, both in folders called images."""
    return [
        walk(tmp_path / day / "images", painted_drive, start) for day, start in (("monday", 0.0), ("tuesday", 200.0))
    ]


def test_drives_of_one_name_get_two(week, tmp_path):
    """By as many parent folders as it takes; one that is given twice is a sentence; a name can be given."""
    assert [drive.name for drive in open_drives(week)] == ["monday/images", "tuesday/images"]
    deep = [shutil.copytree(week[0], tmp_path / robot / "monday" / "images") for robot in ("a", "b")]
    assert [drive.name for drive in open_drives(deep)] == ["a/monday/images", "b/monday/images"]
    assert [drive.name for drive in open_drives([week[0] / "poses.csv", deep[0]])] == ["poses", "images"]
    with pytest.raises(DriveError, match="is given twice"):
        open_drives([week[0], week[0].parent / "." / "images"])
    assert open_drives(week[:1], DriveOptions(name="walk"))[0].name == "walk"
    with pytest.raises(DriveError, match="2 drives cannot all be called 'walk'"):
        open_drives(week, DriveOptions(name="walk"))


def test_building_and_adding_keep_them_apart(week, tmp_path, describer, caplog):
    """The second was dropped in silence, since its stamps were in the map already."""
    with build_map(tmp_path / "both.vprmap", open_drives(week), describer) as both:
        assert map_info(both)["drives"] == {"monday/images": 6, "tuesday/images": 6}
        again = add_drive(both, open_drive(week[1]), describer)
        assert (again.name, again.new, again.there) == ("tuesday/images", 0, 6)
    with build_map(tmp_path / "one.vprmap", [open_drive(week[0])], describer) as one:
        added = add_drive(one, open_drive(week[1]), describer)
        assert (added.name, added.new) == ("tuesday/images", 6)
        assert "the map has another drive called images already: this one is stored as tuesday/images" in caplog.text
        assert map_info(one)["drives"] == {"images": 6, "tuesday/images": 6}


def test_a_drive_is_itself_wherever_it_lies_and_when_it_has_grown(week, tmp_path, describer, painted_drive):
    """A killed build goes on after the disk was mounted elsewhere, and with images that were added since."""
    with build_map(tmp_path / "m.vprmap", [open_drive(week[0])], describer) as place_map:
        moved = shutil.copytree(week[0], tmp_path / "elsewhere" / "images")
        assert add_drive(place_map, open_drive(moved), describer).there == 6
        grown = add_drive(place_map, open_drive(walk(moved, painted_drive, 0.0, 9)), describer)
        assert (grown.name, grown.new, grown.there) == ("images", 3, 6)


def test_merging_keeps_them_apart_and_counts_what_is_in_both(week, tmp_path, describer):
    """Places of one image are kept once and counted; two drives of one name are two."""
    paths = [tmp_path / "a.vprmap", tmp_path / "b.vprmap"]
    for path, folder in zip(paths, week, strict=True):
        build_map(path, [open_drive(folder)], describer).close()
    tally = Tally()
    with merge_maps(tmp_path / "ab.vprmap", paths, tally) as merged:
        assert map_info(merged)["drives"] == {"images": 6, "images (2)": 6} and not tally
    with merge_maps(tmp_path / "aba.vprmap", [tmp_path / "ab.vprmap", *paths], tally) as merged:
        assert len(merged) == 12 and tally.lines()[0].startswith("12 place(s) were in two of the maps")


def test_a_merge_that_fails_leaves_nothing(week, tmp_path, describer):
    """Half a map looks like a whole one."""
    paths = [tmp_path / "a.vprmap", tmp_path / "b.vprmap"]
    for path, folder in zip(paths, week, strict=True):
        build_map(path, [open_drive(folder)], describer).close()
    with sqlite3.connect(paths[1]) as connection:
        connection.execute("UPDATE places SET pose = x'00' WHERE id = 3")
    with pytest.raises(Exception, match="corrupt"):
        merge_maps(tmp_path / "ab.vprmap", paths)
    assert not (tmp_path / "ab.vprmap").exists()


def test_maps_of_before_name_bands(week, tmp_path, describer):
    """A map in 'utm 13S', a band of the north, and drives of today share one world."""
    with build_map(tmp_path / "old.vprmap", [open_drive(week[0], DriveOptions(world="utm 13T"))], describer) as made:
        assert made.world == "utm 13 north"
    with sqlite3.connect(tmp_path / "old.vprmap") as connection:
        connection.execute("UPDATE meta SET value = 'utm 13S' WHERE key = 'world'")
    with PlaceMap.open(tmp_path / "old.vprmap", writable=True) as old:
        assert old.world == "utm 13 north"
        assert add_drive(old, open_drive(week[1], DriveOptions(world="utm 13 north")), describer).new == 6
        with pytest.raises(DriveError, match=r"'utm 13 south'.*to its zone with -d world='utm 13 north'"):
            add_drive(old, open_drive(week[1], DriveOptions(world="utm 13 south")), describer)


def test_evaluating_keeps_them_apart(week, tmp_path, describer, vpr):
    """One row and one file of answers each; the first drive's were overwritten."""
    build_map(tmp_path / "m.vprmap", open_drives(week), describer).close()
    out = tmp_path / "out"
    assert vpr("evaluate", tmp_path / "m.vprmap", *week, "-o", out, "--backend", "onnx") == 0
    assert sorted(json.loads((out / "results.json").read_text())["conditions"]) == ["monday/images", "tuesday/images"]
    answers = sorted(path.name for path in out.glob("*.jsonl"))
    assert answers == ["monday_images.answers.jsonl", "tuesday_images.answers.jsonl"]


def test_nothing_usable_leaves_no_file(week, tmp_path, vpr, capsys):
    """Exit status 1 and the first problem, not an empty map that says 0 places."""
    for image in week[0].glob("*.png"):
        image.write_bytes(image.read_bytes()[:100])
    path = tmp_path / "out" / "m.vprmap"
    path.parent.mkdir()
    assert vpr("map", "build", week[0], "-o", path, "--backend", "onnx") == 1
    assert "no image of drive images can be used: " in (said := capsys.readouterr().err) and "0.png" in said
    assert list(path.parent.iterdir()) == []
    assert vpr("map", "build", week[1], week[0], "-o", path, "--backend", "onnx") == 1
    assert "keeps the 6 places so far: continue with --resume" in capsys.readouterr().err
    with PlaceMap.open(path) as kept:
        assert len(kept) == 6


def test_what_is_left_out_is_told(tmp_path, painted_drive, vpr, capsys):
    """By kind and count, in every job; images without a pose are left out with --every 0 too."""
    folder = walk(tmp_path / "walk", painted_drive, 0.0, 8, "unposed")
    (folder / "1.png").write_bytes(b"")
    path, onnx = tmp_path / "m.vprmap", ("--backend", "onnx")
    assert vpr("map", "build", folder, "-o", path, "--every", "0", *onnx) == 0
    told = capsys.readouterr()
    assert f"4 {NO_POSE}" in told.err and f"1 {UNREADABLE}" in told.err and "3 places of 1 drive(s)" in told.out
    assert vpr("map", "add", path, folder, "--every", "0", *onnx) == 0
    told = capsys.readouterr()
    assert f"4 {NO_POSE}" in told.err and "walk: 0 new places, 3 already in the map" in told.out
    assert vpr("evaluate", path, folder, "-o", tmp_path / "out", *onnx) == 0
    told = capsys.readouterr()
    assert "4 image(s) answered but not judged" in told.err and f"1 {UNREADABLE}" in told.err


def test_calibrating_counts_too(week, tmp_path, describer, painted_drive):
    """One broken file cost the whole calibration; and a namesake's images are not those of the map."""
    with build_map(tmp_path / "m.vprmap", [open_drive(week[0])], describer) as place_map:
        (week[1] / "2.png").write_bytes(b"")
        tally = Tally()
        described = describe_drive(open_drive(week[1]), place_map, describer, tally=tally)
        assert len(described.stamps_ns) == 5 and tally.count(UNREADABLE) == 1
        assert not described.is_in(place_map.places)
        assert describe_drive(open_drive(week[0]), place_map, describer).is_in(place_map.places)


def test_poses_of_another_time_are_told_with_both_times(tmp_path, painted_drive, describer):
    """ "Has no poses" was said of a drive whose clocks differed by 37 s."""
    folder = walk(tmp_path / "walk", painted_drive, 0.0, 6)
    for i in range(6):
        (folder / f"{i}.png").rename(folder / f"{1_700_000_000 + i}.png")
    rows = [f"{1_700_000_037 + i},{5 * i},0,0" for i in range(6)]
    (folder / "poses.csv").write_text("\n".join(["stamp,x,y,yaw", *rows]) + "\n")
    with pytest.raises(DriveError, match=r"has a pose at its time: images are of .*22:13:20.*, poses of .*TAI and UTC"):
        build_map(tmp_path / "m.vprmap", [open_drive(folder)], describer)
    (folder / "poses.csv").unlink()
    with pytest.raises(DriveError, match="has no poses, so its images cannot be places"):
        build_map(tmp_path / "m.vprmap", [open_drive(folder)], describer)
    assert not (tmp_path / "m.vprmap").exists()


def test_a_pose_that_is_not_finite_is_none(tmp_path, painted_drive, describer):
    """It ended the build halfway, or became the origin of the map."""

    class Shaken(painted_drive):  # type: ignore[misc]
        def pose(self, along):
            return super().pose(along) * (np.nan if along < 10 else 1)

    tally = Tally()
    with build_map(tmp_path / "m.vprmap", [Shaken(length=30.0)], describer, tally=tally) as place_map:
        assert len(place_map) == 4 and tally.count(INVALID_POSE) == 2 and place_map.origin.tolist() == [0, 0, 0]


def test_merging_what_was_merged_keeps_all_three(week, tmp_path, describer, painted_drive):
    """ "images" became "images (2)", which the merged map had itself: one drive was dropped as the other."""
    folders = [*week, walk(tmp_path / "wednesday" / "images", painted_drive, 400.0)]
    paths = [tmp_path / f"{folder.parent.name}.vprmap" for folder in folders]
    for path, folder in zip(paths, folders, strict=True):
        build_map(path, [open_drive(folder)], describer).close()
    merge_maps(tmp_path / "two.vprmap", paths[:2]).close()
    tally = Tally()
    with merge_maps(tmp_path / "all.vprmap", [paths[2], tmp_path / "two.vprmap"], tally) as merged:
        assert map_info(merged)["drives"] == {"images": 6, "images (3)": 6, "images (2)": 6} and not tally


def test_a_drive_is_itself_whatever_it_is_called(week, tmp_path, describer):
    """Only drives of one last name were compared: a renamed copy, or the folder's own CSV, doubled the map."""
    with build_map(tmp_path / "m.vprmap", [open_drive(week[0])], describer) as place_map:
        (tmp_path / "linked").symlink_to(week[0])
        renamed = shutil.copytree(week[0], tmp_path / "copy")
        for path in (week[0] / "poses.csv", tmp_path / "linked", renamed):
            added = add_drive(place_map, open_drive(path), describer)
            assert (added.name, added.new, added.there) == ("images", 0, 6)
        assert add_drive(place_map, open_drive(week[0], DriveOptions(name="walk")), describer).there == 6
    with pytest.raises(DriveError, match="is given twice"):
        open_drives([week[0], week[0] / "poses.csv"])


def repeated(folder: Path, painted_drive, standing: int, start: float, count: int) -> Path:
    """A walk that begins with a robot standing at its dock: the same image several times, then other ones."""
    walk(folder, painted_drive, start, standing + count)
    for i in range(standing):
        cv2.imwrite(str(folder / f"{i}.png"), painted_drive().image(0.0)[:, :, ::-1])
    return folder


@pytest.mark.parametrize(("standing", "moving"), [(6, 8), (12, 6)])
def test_drives_that_begin_at_one_dock_are_two(tmp_path, describer, painted_drive, caplog, standing, moving):
    """The first few images decided for all of them, and the second drive was dropped whole."""
    mon = repeated(tmp_path / "mon" / "images", painted_drive, standing, 0.0, moving)
    tue = repeated(tmp_path / "tue" / "images", painted_drive, standing, 300.0, moving)
    with build_map(tmp_path / "m.vprmap", [open_drive(mon)], describer, 0.0) as place_map:
        added = add_drive(place_map, open_drive(tue), describer, 0.0)
        assert (added.name, added.new, added.there) == ("tue/images", standing + moving, 0)
        assert "so it is taken for another drive" in caplog.text


@pytest.mark.parametrize(("at", "name"), [(5, "changed/images"), (19, "images")])
def test_an_image_that_was_inserted_is_not_passed_over_in_silence(tmp_path, describer, painted_drive, caplog, at, name):
    """Without times all later images move on by one stamp; the user is told, whichever drive it is taken for."""
    folder = walk(tmp_path / "images", painted_drive, 0.0, 20)
    changed = shutil.copytree(folder, tmp_path / "changed" / "images")
    cv2.imwrite(str(changed / "new.png"), painted_drive().image(500.0)[:, :, ::-1])
    rows = (changed / "poses.csv").read_text().splitlines()
    rows.insert(at + 1, "new.png,500,0,0")
    (changed / "poses.csv").write_text("\n".join(rows) + "\n")
    with build_map(tmp_path / "m.vprmap", [open_drive(folder)], describer, 0.0) as place_map:
        assert add_drive(place_map, open_drive(changed), describer, 0.0).name == name
        assert "images were changed, inserted or removed since, build the map again" in caplog.text
