"""Presets must stay what their names say, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_lab.simulation.camera import Camera, expose
from vpr_lab.simulation.conditions import PRESETS, Condition
from vpr_ros.base.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_vary_with_the_seed_and_only_with_it(name):
    """Drives are reproducible, and no two are alike."""
    assert Condition.preset(name, 3) == Condition.preset(name, 3)
    assert Condition.preset(name, 3) != Condition.preset(name, 4)


def test_presets_mean_what_they_say():
    """Reports group by these names."""
    for seed in range(20):
        made = {name: Condition.preset(name, seed) for name in PRESETS}
        assert made["snow"].snow > 0.5 and made["night"].night == 1 and max(made["sun"].sun) > 1
        assert max(made["night"].ambient) < 0.05 < max(made["dusk"].ambient) < min(made["overcast"].ambient)
        assert made["rain"].droplets > 0 and made["autumn"].autumn > 0.5 and max(made["overcast"].sun) == 0


def test_an_unknown_condition_says_which_there_are():
    """One sentence instead of a KeyError."""
    with pytest.raises(ConfigError, match="no condition 'fog': use one of overcast, sun, snow"):
        Condition.preset("fog")


@pytest.mark.parametrize("name", ["overcast", "night", "rain"])
def test_the_sensor_is_repeatable_and_leaves_the_picture_recognisable(name):
    """Equal frames for equal seeds; noise that hides the scene would teach nothing."""
    x, y = np.meshgrid(np.linspace(0, 8, 160), np.linspace(0, 6, 120))
    scene = np.repeat((100 + 60 * np.sin(x) * np.cos(y)).astype(np.uint8)[..., None], 3, axis=2)
    condition = Condition.preset(name, 2)
    photo = expose(scene, condition, 7)
    assert photo.shape == scene.shape and photo.dtype == np.uint8
    assert np.array_equal(photo, expose(scene, condition, 7))
    assert not np.array_equal(photo, expose(scene, condition, 8))
    assert np.corrcoef(photo[..., 1].ravel(), scene[..., 1].ravel())[0, 1] > 0.8


def test_intrinsics_match_the_field_of_view():
    """The ray through the picture's edge leaves at half the angle."""
    camera = Camera(width=320, height=240, fov_deg=66.0)
    edge = np.linalg.inv(camera.K) @ [-0.5, camera.K[1, 2], 1.0]
    assert np.degrees(np.arctan2(-edge[0], edge[2])) == pytest.approx(33.0)
    assert camera.T_body_camera[2, 3] == 1.6
