"""Depth and poses are the truth the network learns from and is measured against: they must be exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vpr_lab.simulation.camera import Camera
from vpr_lab.simulation.conditions import Condition
from vpr_lab.simulation.renderer import Renderer
from vpr_ros.base.errors import MissingDependencyError
from vpr_ros.base.geometry import inverse, matrix_from_rpy, transform

PLAIN = Condition("plain")


def pose(town, camera, index, yaw=0.0):
    """T_map_camera at a point of the reference route."""
    route = town.route("reference")
    body = transform(matrix_from_rpy(0, 0, route.headings[index] + yaw), np.array([*route.points[index], 0.0]))
    return body @ camera.T_body_camera


def rays(camera):
    """(H, W, 3) through pixel centres, z = 1."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K).T


def test_depth_of_the_road_is_that_of_the_plane(town, renderer):
    """Below the camera lies flat road: 1.6 m / slope, to a millimetre or two."""
    _, depth = renderer.render(pose(town, renderer.camera, 400), PLAIN, traffic_seed=1)
    below = rays(renderer.camera)[-1, :, 1]
    expected = 1.6 / below
    agrees = np.abs(depth[-1] - expected) < 2e-3
    assert agrees.mean() > 0.7  # the rest is a car or a kerbside thing


def test_depth_and_poses_agree_between_views(town, renderer):
    """Points seen from one place and carried to another by the poses lie on the surfaces seen from there."""
    camera = renderer.camera
    T_first, T_second = pose(town, camera, 400), pose(town, camera, 412, yaw=0.03)
    _, first = renderer.render(T_first, PLAIN)
    _, second = renderer.render(T_second, PLAIN)
    points = (rays(camera) * first[..., None])[(first > 2) & (first < 60)]
    T = inverse(T_second) @ T_first
    moved = points @ T[:3, :3].T + T[:3, 3]
    moved = moved[moved[:, 2] > 1]
    pixels = moved @ camera.K.T
    u, v = np.round(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    seen = second[v[inside], u[inside]]
    assert (np.abs(seen / moved[inside, 2] - 1) < 0.03).mean() > 0.8


def test_sky_has_no_depth(town, renderer):
    """Zero means unknown: looking up there is only sky (or crowns and wires)."""
    T = pose(town, renderer.camera, 400)
    T = T @ transform(matrix_from_rpy(np.radians(60), 0, 0), np.zeros(3))
    _, depth = renderer.render(T, PLAIN)
    assert (depth == 0).mean() > 0.2
    assert depth.dtype == np.float32 and np.isfinite(depth).all()


def test_weather_and_night_look_like_it(town, renderer):
    """Snow whitens the ground, night is dark, leaves fall; else the conditions test nothing."""
    T = pose(town, renderer.camera, 400)
    shots = {
        name: renderer.render(T, replace(Condition.preset(name, 1), exposure=1.0), 3)[0].astype(float)
        for name in ("overcast", "snow", "night")
    }
    lower = {name: shot[70:].mean() for name, shot in shots.items()}
    assert lower["snow"] > 1.15 * lower["overcast"] and lower["night"] < 0.5 * lower["overcast"]


def test_the_sun_casts_shadows(town, renderer):
    """With a low sun much of the street lies in shade; without its light nothing does."""
    condition = Condition("sun", sun=(2.0, 2.0, 2.0), ambient=(0.4, 0.4, 0.4), sun_elevation_deg=25.0)
    T = pose(town, renderer.camera, 400)
    spread = []
    for azimuth in (0.0, 90.0, 180.0, 270.0):
        image = renderer.render(T, replace(condition, sun_azimuth_deg=azimuth))[0][80:]
        spread.append(image.std())
    assert max(spread) > 1.3 * renderer.render(T, PLAIN)[0][80:].std()


def test_equal_requests_give_equal_pictures_with_two_renderers_alive(town, renderer):
    """Training renders several towns in turn: one context must not disturb the other."""
    T = pose(town, renderer.camera, 700)
    before = renderer.render(T, PLAIN, 2, noise_seed=1)
    second = Renderer(town, Camera(width=64, height=48))
    small = second.render(T, PLAIN, 2)[0]
    after = renderer.render(T, PLAIN, 2, noise_seed=1)
    second.close()
    assert small.shape == (48, 64, 3) and small.std() > 5
    assert np.array_equal(before[0], after[0]) and np.array_equal(before[1], after[1])
    assert np.array_equal(renderer.render(T, PLAIN, 2, noise_seed=1)[0], before[0])


def test_a_machine_that_cannot_draw_says_what_to_install(town, monkeypatch):
    """A newcomer without GL libraries reads one sentence."""
    moderngl = pytest.importorskip("moderngl")

    def fail(**_):
        raise OSError("libEGL.so not found")

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(MissingDependencyError, match=r"\[sim\].*libegl1 and libgl1-mesa-dri"):
        Renderer(town)
