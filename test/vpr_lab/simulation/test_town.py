"""A town must be the same for everyone who names its seed, and its routes must be drivable and honest about detours."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from vpr_lab.simulation.mesh import Mesh, Paint, Placement
from vpr_lab.simulation.planting import TownBuilder
from vpr_lab.simulation.routes import STEP_M, chain_loops, find_loop, make_route, with_detour
from vpr_lab.simulation.streets import make_streets
from vpr_lab.simulation.style import make_style
from vpr_lab.simulation.textures import make_textures
from vpr_ros.base.errors import ConfigError


def test_equal_seeds_give_equal_towns_and_others_differ(town):
    """A map of "town 5" made elsewhere must fit this one."""
    builder = TownBuilder(
        make_streets(np.random.default_rng([5, 2])),
        make_style(np.random.default_rng([5, 1])),
        town.textures,
        np.random.default_rng([5, 3]),
    )
    builder.build()
    again = builder.mesh.opaque()
    assert len(again) == len(town.opaque.vertices)
    assert np.array_equal(np.sort(again["position"][:, 0]), np.sort(town.opaque.vertices["position"][:, 0]))
    assert not np.allclose(make_streets(np.random.default_rng([6, 2])).crossings, town.streets.crossings)


def test_cells_hold_every_quad_once_and_none_far_from_its_square(town):
    """What is drawn by cells must be the whole town."""
    for cells in (town.opaque, town.cutout):
        assert cells.ranges[:, 1].sum() * 4 == len(cells.vertices)
        corners = cells.vertices["position"].reshape(-1, 4, 3)[..., :2].mean(1)
        for centre, (first, count) in zip(cells.centres, cells.ranges, strict=True):
            assert np.abs(corners[first : first + count] - centre).max() <= 20.001


def test_the_reference_is_a_loop_one_can_drive(town):
    """No jumps, no sharp turns, no building in the way: else pictures and odometry are nonsense."""
    route = town.route("reference")
    assert 1000 < route.length_m < 2100
    closed = np.concatenate([route.points, route.points[:1]])
    assert np.allclose(np.linalg.norm(np.diff(closed, axis=0), axis=1), STEP_M, atol=0.05)
    turn = np.diff(np.unwrap(np.concatenate([route.headings, route.headings[:1]])))
    assert np.abs(np.degrees(turn)).max() < 4.5  # a turning radius of 3.5 m
    for corners in town.footprints:
        polygon = corners.astype(np.float32)
        for x, y in route.points[::20]:
            assert cv2.pointPolygonTest(polygon, (float(x), float(y)), False) < 0


@pytest.mark.parametrize("seed", range(4))
def test_loops_revisit_streets_along_and_against(seed):
    """A loop closer is measured on it: it must come back, also the other way round, where a closure would be false."""
    streets = make_streets(np.random.default_rng([seed, 2]))
    crossings = chain_loops(streets, np.random.default_rng([seed, 7]))
    route = make_route(streets, "loops", crossings, left_hand_traffic=False)
    assert 1400 < route.length_m < 2300
    turn = np.diff(np.unwrap(np.concatenate([route.headings, route.headings[:1]])))
    assert np.abs(np.degrees(turn)).max() < 4.5
    driven = list(itertools.pairwise(crossings))
    assert sum(pair in driven[:k] for k, pair in enumerate(driven)) >= 5
    assert sum(pair[::-1] in driven[:k] for k, pair in enumerate(driven)) >= 2


def test_identical_streets_look_the_same_one_block_on():
    """The worst case for a loop closer: only traffic, and the ground's grain, tell one street from the next."""
    streets, style = make_streets(np.random.default_rng(1), identical=True), make_style(np.random.default_rng(1))
    lengths = [street.length_m for street in streets.streets]
    assert np.ptp(lengths) < 1e-6 and len({street.road_m for street in streets.streets}) == 1
    builder = TownBuilder(streets, style, make_textures(1), np.random.default_rng(1), identical=True)
    builder.build()
    position = builder.mesh.opaque()["position"].reshape(-1, 4, 3)

    def around(a: int, b: int) -> np.ndarray:
        """Corners in the corridor of a street, seen from its start."""
        start, along = streets.crossings[a], (streets.crossings[b] - streets.crossings[a]) / lengths[0]
        seen = (position[..., :2] - start) @ np.stack([along, [-along[1], along[0]]], 1)
        inside = (
            (np.abs(seen[..., 1]) < 12).all(1) & (seen[..., 0] > 10).all(1) & (seen[..., 0] < lengths[0] - 10).all(1)
        )
        corners = np.concatenate([seen[inside], position[inside][..., 2:]], -1).reshape(-1, 3)
        return corners[np.lexsort(corners.round(2).T)]

    first = around(16, 17)
    assert len(first) > 1000
    for a, b in ((17, 18), (30, 31), (31, 32)):
        other = around(a, b)
        assert len(other) == len(first) and np.allclose(other, first, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_the_detour_leaves_the_reference_far_behind(seed):
    """Off-map detection is measured on it: at least 150 m must lie over 50 m away from any reference place."""
    streets, rng = make_streets(np.random.default_rng([seed, 2])), np.random.default_rng([seed, 5])
    loops = [find_loop(streets, rng, 1150.0, 1900.0) for _ in range(12)]
    assert max(with_detour(streets, loop)[1] for loop in loops) >= 150


def test_the_detour_is_measured_on_the_driven_line_too(town):
    """What with_detour promises of crossings must hold for the points the camera takes."""
    reference, detour = town.route("reference"), town.route("detour")
    distance = np.linalg.norm(detour.points[::4, None] - reference.points[None, ::4], axis=2).min(1)
    assert (distance > 50).sum() * 4 * STEP_M >= 150
    assert (distance < 1).mean() > 0.4


def test_the_other_way_round_is_the_other_lane(town):
    """A reverse drive sees the same street from the oncoming lane."""
    forth, back = town.route("random-1"), town.route("random-1", reverse=True)
    distance = np.linalg.norm(forth.points[::40, None] - back.points[None], axis=2)
    assert 2.0 < np.median(distance.min(1)) < 7.0
    opposite = np.cos(forth.headings[::40] - back.headings[distance.argmin(1)])
    assert np.median(opposite) < -0.95


def test_an_unknown_route_says_which_there_are(town):
    """One sentence instead of a KeyError."""
    with pytest.raises(ConfigError, match="unknown route 'scenic': use reference, detour, loops or random-<number>"):
        town.route("scenic")


def test_the_plan_from_above_has_every_street_and_building(town):
    """The report draws the town from it."""
    plan = town.plan_picture()
    assert len(plan["roads"]) == len(plan["pavements"]) == len(town.streets.streets)
    assert len(plan["buildings"]) > 200 and all(corners.shape == (4, 2) for corners in plan["buildings"])
    assert len(plan["parks"]) >= 3


def test_walls_and_boxes_face_outwards():
    """Faces turned away are not drawn: a wrong winding is a hole in the house."""
    mesh = Mesh()
    mesh.box(Placement(10.0, 5.0, 0.7), (-1, -1, 0), (1, 1, 2), Paint(0), faces=(0, 1, 2, 3, 4, 5))
    corners = mesh.opaque()["position"].reshape(-1, 4, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = corners.mean(1) - [10.0, 5.0, 1.0]
    assert (np.einsum("ij,ij->i", normal, outwards) > 0).all()


def test_traffic_differs_from_drive_to_drive_and_keeps_off_the_houses(town):
    """Occluders must not be a landmark."""
    first, again, other = town.traffic(1), town.traffic(1), town.traffic(2)
    assert np.array_equal(first.places, again.places)
    assert len(first.places) != len(other.places) or not np.allclose(first.places, other.places)
    assert first.ranges[-1, 1] * 4 == len(first.opaque) and first.ranges[-1, 3] * 4 == len(first.cutout)
