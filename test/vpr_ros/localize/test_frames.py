"""What a program gives by mistake is one sentence, and harms nothing that is kept from image to image."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import ConfigError, FrameError, ImageError, VprError
from vpr_ros.base.records import Frame, Prior
from vpr_ros.localize.config import FilterConfig, LocalizerConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.builder import build_map

SECOND = 10**9
POSE = np.eye(4)
SKEWED = np.diag([2.0, 2.0, 2.0, 1.0])
HERE = Prior(np.zeros(2), np.eye(2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stamp_ns", "123"),
        ("stamp_ns", None),
        ("stamp_ns", 1.5),
        ("T_odom_camera", np.full((4, 4), np.nan)),
        ("T_odom_camera", np.eye(3)),
        ("T_odom_camera", "here"),
        ("T_odom_camera", SKEWED),
        ("T_odom_camera", np.diag([1.0, 1.0, -1.0, 1.0])),
        ("T_base_camera", SKEWED),
        ("priors", None),
        ("priors", HERE),
        ("priors", (replace(HERE, position=np.array([np.nan, 0.0])),)),
        ("priors", (replace(HERE, covariance=-np.eye(2)),)),
        ("priors", (replace(HERE, wrong=2.0),)),
        ("image_rgb", None),
        ("image_rgb", [[1, 2], [3, 4]]),
    ],
)
def test_a_bad_frame_is_one_sentence_and_the_next_is_answered(
    tmp_path: Any, painted_drive: Any, describer: Any, field: str, value: Any
) -> None:
    """One pose of NaN ended every later image with "negative dimensions are not allowed"."""
    build_map(tmp_path / "m.vprmap", [painted_drive(length=60.0)], describer).close()
    with Localizer.open(tmp_path / "m.vprmap") as localizer:
        good = [Frame(k * SECOND, frame.read(), POSE) for k, frame in enumerate(painted_drive(length=60.0))][:4]
        before = [localizer.localize(frame) for frame in good[:2]]
        with pytest.raises((FrameError, ImageError)):
            localizer.localize(replace(good[2], **{field: value}))
        assert localizer.localize(good[3]).matches[0].place_id
        again = pickle.loads(pickle.dumps(before[1]))  # as from a worker process
        assert len(again.hypotheses) == len(before[1].hypotheses) and len(again.matches) == len(before[1].matches)


@pytest.mark.parametrize("config", [LocalizerConfig(filter=FilterConfig(speed=-1.0)), {"filter": {}}])
def test_settings_made_in_python_are_checked(toy_world: Any, config: Any) -> None:
    """The command line refused a speed of -1, and Python localised with it."""
    with pytest.raises(ConfigError):
        Localizer(toy_world.places(), None, config)  # type: ignore[arg-type]


@pytest.mark.parametrize("every_m", [-5.0, float("nan"), float("inf")])
def test_a_spacing_that_is_none_is_refused(tmp_path: Any, painted_drive: Any, describer: Any, every_m: float) -> None:
    with pytest.raises(VprError, match="every_m is"):
        build_map(tmp_path / "m.vprmap", [painted_drive(length=60.0)], describer, every_m=every_m)
