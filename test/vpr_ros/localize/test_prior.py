"""Priors: they help where images are unsure, cost little where they are wrong, and a start pose starts again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vpr_ros.base.errors import FrameError
from vpr_ros.base.geometry import heading
from vpr_ros.base.records import Estimate, Prior
from vpr_ros.localize.config import FilterConfig, LocalizerConfig
from vpr_ros.localize.localizer import Localizer
from vpr_ros.localize.prior import PriorModel
from vpr_ros.localize.rig import Rig
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.places import Places

SECOND = 10**9
SHIPPED = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)


def at(world: Any, along: float, sigma: float = 10.0, **more: Any) -> Prior:
    return Prior(world.pose(along)[:2, 3], np.eye(2) * sigma**2, **more)


def error(world: Any, estimate: Estimate, along: float) -> float:
    best = estimate.best
    return np.inf if best is None else float(np.linalg.norm((best.T_map_camera - world.pose(along))[:2, 3]))


def localizer(world: Any, filtered: bool = True, places: Places | None = None) -> Localizer:
    config = LocalizerConfig(filter=FilterConfig(enabled=filtered))
    return Localizer(places or world.places(), None, config, SHIPPED)  # type: ignore[arg-type]


@pytest.mark.parametrize("filtered", [False, True])
def test_a_prior_ranks_the_places_of_a_poor_image(toy_world: Any, filtered: bool) -> None:
    """At much noise the best place of a single image is often another; the right prior brings the right one forward."""
    right = {True: 0, False: 0}
    for k, along in enumerate(np.arange(10.0, 390.0, 10.0)):
        descriptor = toy_world.descriptor(along, 3.5, k)
        for given in right:
            found = localizer(toy_world, filtered).recognise(0, descriptor, priors=(at(toy_world, along),) * given)
            right[given] += bool(np.linalg.norm((found.matches[0].T_map_camera - toy_world.pose(along))[:2, 3]) < 25)
    assert right[True] >= right[False] + 5


def test_images_outvote_a_wrong_prior(toy_world: Any) -> None:
    """A street canyon that says 200 m further, every second, surely."""
    found = localizer(toy_world)
    for k, along in enumerate(np.arange(10.0, 150.0, 5.0)):
        wrong = at(toy_world, along + 200.0, sigma=3.0)
        answer = found.recognise(
            k * SECOND, toy_world.descriptor(along, 0.3, k), toy_world.pose(along), priors=(wrong,)
        )
        assert error(toy_world, answer, along) < 25


def test_a_passing_prior_leaves_nothing_behind(toy_world: Any) -> None:
    """Errors of satellites last for minutes: what is said a hundred times must not count a hundred times."""
    with_prior, without = localizer(toy_world), localizer(toy_world)
    for k in range(20):
        image, pose = toy_world.descriptor(100.0 + k, 1.0, k), toy_world.pose(100.0 + k)
        with_prior.recognise(k * SECOND, image, pose, priors=(at(toy_world, 300.0),))
        without.recognise(k * SECOND, image, pose)
    last = toy_world.descriptor(120.0, 1.0, 99)
    one, other = (found.recognise(20 * SECOND, last, toy_world.pose(120.0)) for found in (with_prior, without))
    assert one.off_map_probability == pytest.approx(other.off_map_probability, abs=0.02)
    assert error(toy_world, one, 120.0) == pytest.approx(error(toy_world, other, 120.0), abs=0.5)


def test_a_start_pose_starts_again_and_lasts(toy_world: Any) -> None:
    """Two streets that look alike: the images cannot tell, one click can, and it is not forgotten."""
    one = toy_world.places()
    T = one.T_map_camera.copy()
    T[:, 0, 3] += 1000.0
    both = Places(
        ids=np.arange(1, 2 * len(one) + 1),
        drives=np.array(["a"] * len(one) + ["b"] * len(one)),
        stamps_ns=np.concatenate([one.stamps_ns, one.stamps_ns]),
        T_map_camera=np.concatenate([one.T_map_camera, T]),
        descriptors=np.concatenate([one.descriptors, one.descriptors]),
    )
    found = localizer(toy_world, places=both)
    clicked = toy_world.pose(100.0)[:2, 3] + [1000.0, 0.0]
    for k in range(20):
        along = 100.0 + 4 * k
        priors = (Prior(clicked, np.eye(2), lasting=True),) if k == 0 else ()
        answer = found.recognise(k * SECOND, toy_world.descriptor(along, 0.3, k), toy_world.pose(along), priors=priors)
        assert answer.best is not None and answer.best.T_map_camera[0, 3] > 800
    assert answer.best.probability > 0.9


def test_a_heading_tells_directions_apart(toy_world: Any) -> None:
    """A place that is driven in both directions."""
    places = toy_world.places()
    model = PriorModel(Rig(places))
    row = 20
    forward = float(heading(places.T_map_camera[row]))
    towards, back = (
        model.log_ratios([Prior(places.positions[row, :2], np.eye(2), angle, 0.2)])
        for angle in (forward, forward + np.pi)
    )
    assert towards is not None and back is not None and towards.values[row] > back.values[row] + 3


def test_evidence_is_bounded(toy_world: Any) -> None:
    """However sure a source says it is, it cannot rule a place out."""
    model = PriorModel(Rig(toy_world.places()))
    ratios = model.log_ratios([at(toy_world, 0.0, sigma=1e-6, wrong=0.2)])
    assert ratios is not None and ratios.values.min() == pytest.approx(np.log(0.2)) and ratios.values.max() < 10
    assert model.log_ratios([]) is None and len(model.near(None)) == 0


def test_a_wrong_start_pose_is_outvoted_by_the_view_that_it_came_in(toy_world: Any) -> None:
    """A click on the wrong street while the robot stands: the view before it had counted, and must count again."""
    found = localizer(toy_world)
    for k in range(30):
        priors = (at(toy_world, 300.0, sigma=3.0, lasting=True),) if k == 5 else ()
        image, pose = toy_world.descriptor(100.0, 0.1, k), toy_world.pose(100.0)
        answer = found.recognise(k * SECOND, image, pose, priors=priors)
    assert error(toy_world, answer, 100.0) < 25


def test_the_vaguer_a_prior_the_less_it_says(toy_world: Any) -> None:
    """Many sources say "unknown" by a huge variance. That is neither for nor against the map, as no prior at all."""
    model = PriorModel(Rig(toy_world.places()))
    here = toy_world.pose(100.0)
    for unsure in (at(toy_world, 100.0, sigma=1e5), at(toy_world, 100.0, 1e5, heading=2.0, heading_sigma=1e3)):
        found = model.log_ratios([unsure])
        assert found is not None and np.abs(found.values).max() < 0.05
    known = model.log_ratios([at(toy_world, 100.0)])
    turned = model.log_ratios([at(toy_world, 100.0, heading=float(heading(here)) + np.pi, heading_sigma=1e3)])
    assert known is not None and turned is not None
    np.testing.assert_allclose(turned.values, known.values, atol=0.01)


@pytest.mark.parametrize("wrong", [{"heading": np.nan}, {"heading": 0.0, "heading_sigma": np.nan}])
def test_a_heading_that_is_no_number_is_refused(toy_world: Any, wrong: dict[str, float]) -> None:
    """It made the belief NaN, for that image and for all after it."""
    with pytest.raises(FrameError, match="finite heading"):
        at(toy_world, 100.0, **wrong).check()
    with pytest.raises(FrameError, match="finite heading"):
        localizer(toy_world).recognise(0, toy_world.descriptor(100.0), priors=(at(toy_world, 100.0, **wrong),))
