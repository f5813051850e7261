"""A mistyped key must never pass silently: the user would tune a parameter nobody reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from vpr_ros.base.config import from_dict, load_yaml, nested, save_yaml
from vpr_ros.base.errors import ConfigError
from vpr_ros.localize.config import LocalizerConfig


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'matches'"):
        from_dict(LocalizerConfig, {"search": {"matchs": 3}})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"search": {"matches": 0}}, "must lie in 1"),
        ({"search": {"matches": 2.5}}, "expected int"),
        ({"search": {"matches": True}}, "expected int"),
        ({"hypotheses": {"radius": float("nan")}}, "must be a finite number"),
        ({"filter": {"enabled": "yes"}}, "expected bool"),
        ({"filter": False}, "'filter' is called 'filter.enabled' now"),
        ({"session_mean": False}, "is called 'search.mean_centring' now"),
        (["matches"], "expected names with values"),
    ],
)
def test_wrong_values_are_refused_with_the_range_or_type(data, says):
    with pytest.raises(ConfigError, match=says):
        from_dict(LocalizerConfig, data)


def test_flags_beat_the_file_and_the_file_beats_the_defaults(tmp_path: Path):
    path = tmp_path / "localizer.yaml"
    path.write_text("search: {matches: 7}\nhypotheses: {count: 2}\n")
    config = load_yaml(LocalizerConfig, path, nested({"search.matches": 9}))
    assert (config.search.matches, config.hypotheses.count, config.search.index) == (9, 2, "auto")
    save_yaml(config, path)
    assert load_yaml(LocalizerConfig, path) == config


@pytest.mark.parametrize("text", ["matches: [", "- a\n- b\n", "\x00\x01"])
def test_a_file_that_is_no_mapping_is_one_sentence(tmp_path: Path, text: str):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_yaml(LocalizerConfig, path)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_yaml(LocalizerConfig, tmp_path / "none.yaml")
