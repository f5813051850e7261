"""What is written whole: the old file or the new one, and nothing beside it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vpr_ros.base.files import written_whole


def test_a_file_changes_only_when_it_is_done(tmp_path: Path) -> None:
    """A robot that loses power while a map's index or an engine is written must start with the old one."""
    path = tmp_path / "new folder" / "m.engine"
    with written_whole(path) as part:
        part.write_bytes(b"old")

    def fail() -> None:
        with written_whole(path) as part:
            part.write_bytes(b"hal")
            assert path.read_bytes() == b"old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old" and [file.name for file in path.parent.iterdir()] == ["m.engine"]
    with written_whole(path) as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new" and [file.name for file in path.parent.iterdir()] == ["m.engine"]


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    """Caches are done without where they cannot be written: their writers rely on OSError."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), written_whole(tmp_path / "file" / "m.engine") as part:
        part.write_bytes(b"")


def test_what_a_kill_left_goes_a_day_later(tmp_path: Path) -> None:
    """A killed merge leaves gigabytes nobody sees; what another process is writing now stays."""
    for name, age_s in (
        ("town.vprmap.17.part", 90000),
        ("town.vprmap.17.part-journal", 90000),
        ("town.vprmap.18.part", 60),
    ):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    (tmp_path / "town.vprmap.txt").write_text("mine")
    with written_whole(tmp_path / "town.vprmap") as part:
        part.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["town.vprmap", "town.vprmap.18.part", "town.vprmap.txt"]
