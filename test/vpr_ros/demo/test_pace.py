"""The demo's pace: on a slow computer it takes longer, and finds the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vpr_ros.demo import pace
from vpr_ros.demo.pace import AnswersSoFar, Pace


def played_in(pace_of_images: Pace, images: int) -> float:
    """Seconds that some images take."""
    start_s = time.monotonic()
    for _ in range(images):
        pace_of_images.wait()
    return time.monotonic() - start_s


def test_images_come_at_the_rate() -> None:
    """A node that keeps up, or is not waited for, gets them as fast as is said and no faster."""
    for answered in (None, lambda: 1000):
        assert 0.2 <= played_in(Pace(20.0, answered), 5) < 2.0


@pytest.mark.parametrize("ahead", [1, 8])
def test_a_slow_node_is_waited_for(ahead: int) -> None:
    """It has one image that it works on, and at most so many wait as its queue holds, so it drops none."""
    asked = 0

    def answered() -> int:
        nonlocal asked
        asked += 1
        return asked // 50  # one answer for fifty looks

    slow = Pace(1e6, answered, ahead)
    for played in range(1, 5 + ahead):
        slow.wait()
        assert played - asked // 50 <= 1 + ahead
    assert asked >= 150


def test_answers_that_never_come_are_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost image costs a while once, and a node that hangs does not hold the demo up for every image."""
    monkeypatch.setattr(pace, "_LOST_S", 0.2)
    monkeypatch.setattr(pace, "_PATIENCE_S", 0.5)
    assert 0.2 <= played_in(Pace(1e6, lambda: 0), 3) < 2.0
    assert 0.5 <= played_in(Pace(1e6, lambda: 0), 100) < 5.0


def test_whole_answers_are_counted(tmp_path: Path) -> None:
    """The node is writing the file: half a line is no answer yet."""
    path = tmp_path / "answers.jsonl"
    answers = AnswersSoFar(path)
    assert answers.count() == 0
    for text, count in (("{}\n{", 1), ("}\n", 2), ("{}\n{}\n", 4), ("", 4)):
        with path.open("a") as file:
            file.write(text)
        assert answers.count() == count
    assert answers.lines == ["{}"] * 4
