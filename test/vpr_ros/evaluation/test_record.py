"""Answers cross processes as JSON lines: nothing may be lost on the way, and a broken file is one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.records import Estimate, Hypothesis, Match
from vpr_ros.evaluation.record import Run, answer_from_estimate, answer_from_json, answer_to_json


def make_estimate(timings_ms: dict[str, float]) -> Estimate:
    T = np.eye(4)
    T[:3, 3] = 0.1, -2.0 / 3.0, 1e6 + 0.123456789
    hypotheses = (Hypothesis(T, np.diag([1.0, 2, 3, 4, 5, 6]), 0.7, (4, 5)), Hypothesis(T, np.eye(6), 0.1, ()))
    matches = tuple(Match(i, "reference", 10 * i, 1 / (i + 1), 0.5, T, np.eye(6)) for i in range(40))
    return Estimate(2**62 + 1, hypotheses, matches, 0.15, None, timings_ms)


def test_a_line_of_json_loses_nothing() -> None:
    """Nanoseconds beyond 2^53 and float64 poses survive."""
    given = answer_from_estimate(make_estimate({"network": 3.0, "search": 0.5}), 7, np.eye(4))
    line = answer_to_json(given)
    assert "\n" not in line
    assert answer_to_json(answer_from_json(line)) == line
    read = answer_from_json(line)
    assert read.stamp_ns == 2**62 + 1
    assert read.latency_ms == 3.5
    np.testing.assert_array_equal(read.T_map_places, given.T_map_places)
    np.testing.assert_array_equal(read.place_probabilities, given.place_probabilities)
    assert given.place_probabilities.tolist() == [0.5] * 25
    np.testing.assert_array_equal(read.hypotheses[0].covariance, given.hypotheses[0].covariance)
    assert read.best is not None
    assert read.best.place_ids == (4, 5)


def test_answers_recorded_without_place_probabilities_are_read(street: Run, tmp_path: Path) -> None:
    """Files of earlier versions do not have them."""
    path = tmp_path / "street.jsonl"
    street.save(path)
    path.write_text(path.read_text().replace('"probabilities": [], ', ""))
    assert "probabilities" not in path.read_text()
    assert len(Run.load(path).answers[0].place_probabilities) == 0


def test_latency_prefers_what_was_measured_over_the_sum_of_steps() -> None:
    steps = {"network": 3.0, "search": 0.5}
    assert answer_from_estimate(make_estimate(steps), 0, latency_ms=9.0).latency_ms == 9.0
    assert answer_from_estimate(make_estimate({**steps, "total": 4.0}), 0).latency_ms == 4.0
    assert np.isnan(answer_from_estimate(make_estimate({}), 0).latency_ms)


def test_a_run_is_the_same_after_saving(street: Run, tmp_path: Path) -> None:
    street.save(tmp_path / "deep" / "street.jsonl")
    loaded = Run.load(tmp_path / "deep" / "street.jsonl")
    assert [answer_to_json(a) for a in loaded.answers] == [answer_to_json(a) for a in street.answers]
    assert (loaded.name, loaded.condition, loaded.tolerance) == (street.name, street.condition, street.tolerance)
    np.testing.assert_array_equal(loaded.T_map_places, street.T_map_places)


@pytest.mark.parametrize("content", ["", "no json\n", '{"format": "something else"}\n', '["a", "list"]\n'])
def test_a_file_of_something_else_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(DriveError, match=r"line 1 of .*answers\.jsonl"):
        Run.load(path)


def test_a_cut_off_file_names_its_line(street: Run, tmp_path: Path) -> None:
    """A recorder that was killed leaves half a line."""
    path = tmp_path / "answers.jsonl"
    street.save(path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DriveError, match="line 7 of"):
        Run.load(path)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DriveError, match="vpr evaluate"):
        Run.load(tmp_path / "none.jsonl")
