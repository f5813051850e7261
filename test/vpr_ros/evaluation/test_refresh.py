"""Whether a refreshed map is as good as before is measured, with the real network, and a worse one is not written."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError, MapError
from vpr_ros.base.tally import Tally
from vpr_ros.evaluation.refresh import refresh_map
from vpr_ros.maps.builder import build_map
from vpr_ros.maps.place_map import PlaceMap


@contextmanager
def quiet(label: str):
    yield lambda done, total: None


@pytest.fixture
def own(tmp_path, describer, painted_drive) -> Path:
    """Two drives that show the same."""
    path = tmp_path / "own.vprmap"
    drives = [
        painted_drive("monday", length=60.0, noise=4.0),
        painted_drive("tuesday", length=60.0, noise=5.0, start=0.4),
    ]
    build_map(path, drives, describer, views_each=1).close()
    return path


def test_a_new_drive_replaces_those_it_looks_like(own, tmp_path, describer, painted_drive):
    """The map stays as large as one drive, recall is measured before and after, and the old file is untouched."""
    before, new = own.read_bytes(), tmp_path / "new.vprmap"
    wednesday = painted_drive("wednesday", length=60.0, noise=6.0, start=0.2)
    held_out = painted_drive("thursday", length=60.0, noise=8.0, start=2.0)
    done = refresh_map(own, [wednesday], describer, quiet, looks=1, held_out=[held_out], output=new)
    assert own.read_bytes() == before
    assert list(done.figures) == ["as it was", "with everything", "refreshed"]
    assert done.figures["refreshed"].recall == 1.0 and done.figures["refreshed"].images == 12
    assert any("only 12 held-out images" in note for note in done.notes)
    with PlaceMap.open(new) as place_map:
        assert 11 <= len(place_map) <= 14
        assert done.dropped.refreshed.places >= 34


def test_a_drive_that_does_harm_is_refused(own, describer, painted_drive):
    """Poses from elsewhere: what was recognised is no longer, and the map is as it was."""

    class Astray(painted_drive):
        def pose(self, along: float) -> np.ndarray:
            return super().pose(along + 60.0)

    before = own.read_bytes()
    held_out = painted_drive("thursday", length=60.0, noise=3.0, start=0.3)
    with pytest.raises(MapError, match=r"own.vprmap as it was 1.0000: nothing was changed"):
        refresh_map(own, [Astray("astray", length=60.0, start=0.3)], describer, quiet, looks=3, held_out=[held_out])
    assert own.read_bytes() == before and [p.name for p in own.parent.iterdir()] == ["own.vprmap"]
    refresh_map(own, [Astray("astray", length=60.0)], describer, quiet, held_out=[held_out], max_loss=1.0)


def test_new_streets_do_not_hide_what_is_lost_on_old_ones(own, describer, painted_drive):
    """As many right images on a new street as wrong ones on an old one looked like no loss, or a gain."""

    class Astray(painted_drive):
        def pose(self, along: float) -> np.ndarray:
            return super().pose(along + (300.0 if along < 60.0 else 0.0))

    drive = Astray("astray", length=300.0, start=0.3)
    held_out = painted_drive("thursday", length=300.0, noise=3.0, start=1.0)
    before = own.read_bytes()
    with pytest.raises(MapError, match=r"would recall 0.[0-9]+ of 16 held-out images, .*as it was 0.7500"):
        refresh_map(own, [drive], describer, quiet, looks=3, held_out=[held_out])
    assert own.read_bytes() == before
    good = painted_drive("good", length=300.0, start=0.3)
    done = refresh_map(own, [good], describer, quiet, looks=3, held_out=[held_out])
    was, now = done.figures["as it was"], done.figures["refreshed"]
    assert was.images == now.images < 20 < was.new_images == now.new_images
    assert was.recall <= now.recall and was.new_streets == 0.0 < 0.9 < now.new_streets
    assert "on new streets recall@1" in str(now)


def test_a_held_out_drive_that_is_in_the_map_measures_nothing(own, describer, painted_drive):
    """Nor does one elsewhere, or one in another world."""
    for drive, sentence in (
        (painted_drive("again", length=30.0, noise=4.0), "own.vprmap or a new drive has images of again"),
        (painted_drive("far", length=10.0, start=900.0), "no image of far was taken on"),
        (painted_drive(world="elsewhere"), "lies in world 'elsewhere', the map .*own.vprmap in 'painted street'"),
    ):
        with pytest.raises((MapError, DriveError), match=sentence):
            refresh_map(own, [], describer, quiet, held_out=[drive])


def test_a_held_out_drive_that_is_in_the_map_is_refused_before_drives_are_described(own, describer, painted_drive):
    """It was said at the end, after what takes hours with real drives."""

    class Unread(painted_drive):
        def __iter__(self):
            raise AssertionError("the new drive was read")

    with pytest.raises(MapError, match="has images of again"):
        refresh_map(own, [Unread("new")], describer, quiet, held_out=[painted_drive("again", length=30.0, noise=4.0)])


def test_what_was_not_compared_is_said(own, describer, painted_drive):
    """Without a held-out drive the user reads that nothing was measured, and that the calibration is the old one."""
    with PlaceMap.open(own, writable=True) as place_map:
        place_map.set_calibration(replace(place_map.calibration, source="friday"))
    tally = Tally()
    done = refresh_map(
        own, [painted_drive("wednesday", length=60.0, start=0.2)], describer, quiet, looks=1, tally=tally
    )
    assert done.figures == {} and not tally
    assert "not dates" in done.notes[0]
    assert "recall was not compared" in done.notes[1] and "of friday, is kept" in done.notes[2]
