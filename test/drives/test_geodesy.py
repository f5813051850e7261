"""Geodesy: known positions, southern and edge zones, and headings that do not spin at rest."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.drives.geodesy import headings_from_track, utm_from_latlon, utm_zone


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [(51.75, -1.25, "30U"), (-33.9, 151.2, "56H"), (0.0, 180.0, "1N"), (59.3, 18.1, "34V")],
)
def test_zones(latitude: float, longitude: float, zone: str) -> None:
    assert utm_zone(latitude, longitude) == zone


def test_known_positions() -> None:
    """Checked against published coordinates: the Eiffel tower; south of the equator the false northing holds."""
    positions, zone = utm_from_latlon(np.array([48.8583]), np.array([2.2945]), np.array([33.0]))
    assert zone == "31U"
    np.testing.assert_allclose(positions[0], [448251.9, 5411943.8, 33.0], atol=10)
    south, _ = utm_from_latlon(np.array([-33.857]), np.array([151.215]), np.array([0.0]))
    assert 6_250_000 < south[0, 1] < 6_253_000


def test_a_drive_across_a_zones_edge_stays_whole() -> None:
    positions, _ = utm_from_latlon(np.full(2, 51.0), np.array([-0.0005, 0.0005]), np.zeros(2))
    assert np.linalg.norm(positions[1] - positions[0]) == pytest.approx(70, abs=2)


def test_headings() -> None:
    """East, a halt with jitter, then north: the halt keeps its course, and angles do not wrap."""
    rng = np.random.default_rng(0)
    east = np.column_stack([np.arange(10.0) * 2, np.zeros(10), np.zeros(10)])
    halt = east[-1] + np.column_stack([rng.normal(0, 0.05, (20, 2)), np.zeros(20)])
    north = east[-1] + np.column_stack([np.zeros(10), 2 * np.arange(1.0, 11), np.zeros(10)])
    yaw = headings_from_track(np.vstack([east, halt, north]))
    assert yaw is not None
    np.testing.assert_allclose(yaw[:9], 0, atol=0.05)
    np.testing.assert_allclose(yaw[-9:], np.pi / 2, atol=0.05)
    assert np.all((yaw > -0.1) & (yaw < 1.7))
    assert headings_from_track(halt) is None
