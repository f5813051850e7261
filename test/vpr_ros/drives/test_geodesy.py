"""Geodesy: known positions, southern and edge zones."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform
from vpr_ros.drives.geodesy import utm_from_latlon, utm_zone, zone_change


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [
        (51.75, -1.25, 30),
        (-33.9, 151.2, 56),
        (0.0, 180.0, 1),
        (59.3, 18.1, 34),
        (60.4, 5.3, 32),  # Bergen: zone 32 is widened for Norway
        (78.2, 15.6, 33),  # Longyearbyen: Svalbard has zones 31, 33, 35 and 37
        (78.2, 8.9, 31),
        (-34.0, 358.75, 30),  # longitudes from 0 to 360 are understood
    ],
)
def test_zones(latitude: float, longitude: float, zone: int) -> None:
    """As other tools choose them, so that a map agrees with their coordinates."""
    assert utm_zone(latitude, longitude) == zone


def test_known_positions() -> None:
    """Checked against published coordinates: the Eiffel tower; south of the equator the false northing holds."""
    positions, world = utm_from_latlon(np.array([48.8583]), np.array([2.2945]), np.array([33.0]))
    assert world == "utm 31 north"
    np.testing.assert_allclose(positions[0], [448251.9, 5411943.8, 33.0], atol=10)
    south, world = utm_from_latlon(np.array([-33.857]), np.array([151.215]), np.array([0.0]))
    assert 6_250_000 < south[0, 1] < 6_253_000 and world == "utm 56 south"


def test_the_zone_is_the_median_positions(caplog) -> None:
    """One stray position at the start does not move a drive into another zone, and is told of."""
    latitude, longitude = np.full(9, -33.9), 151.2 + 1e-4 * np.arange(9)
    latitude[0], longitude[0] = 48.0, 11.0
    _, world = utm_from_latlon(latitude, longitude, np.zeros(9))
    assert world == "utm 56 south"
    assert "zones 32, 56" in caplog.text


def test_a_band_is_no_border() -> None:
    """Baseline Road in Boulder lies on 40 degrees north, where MGRS changes its letter and UTM nothing."""
    north, of_north = utm_from_latlon(np.array([40.0002]), np.array([-105.2]), np.zeros(1))
    south, of_south = utm_from_latlon(np.array([39.9998]), np.array([-105.2]), np.zeros(1))
    assert of_north == of_south == "utm 13 north" and np.linalg.norm(north - south) < 50


def test_across_the_antimeridian(caplog) -> None:
    """A drive from zone 60 into zone 1 is one track, 70 m long, not one round the world."""
    positions, world = utm_from_latlon(np.full(3, -17.0), np.array([179.9998, -179.9999, -179.9996]), np.zeros(3))
    assert world == "utm 1 south" and 50 < np.linalg.norm(positions[2] - positions[0]) < 80
    assert "zones 1, 60" in caplog.text and "jump" not in caplog.text


def test_positions_in_a_zone_that_is_asked_for() -> None:
    """A map's zone can be asked for, so that a drive beyond the border shares its coordinates."""
    east, world = utm_from_latlon(np.array([51.0]), np.array([0.001]), np.zeros(1), "utm 30 north")
    west, _ = utm_from_latlon(np.array([51.0]), np.array([-0.001]), np.zeros(1))
    assert world == "utm 30 north" and np.linalg.norm(east - west) == pytest.approx(140, abs=2)


def test_another_zones_coordinates_are_those_of_the_place() -> None:
    """Naming the map's zone put a drive beyond the border 430 km off; north is another way there, as is the view."""
    latitude, longitude, level = np.array([50.0, 50.0]), np.array([6.001, 6.002]), np.zeros(2)
    own, world = utm_from_latlon(latitude, longitude, level)
    asked, _ = utm_from_latlon(latitude, longitude, level, "utm 31 north")
    assert world == "utm 32 north"
    change = zone_change(world, "utm 31 north")
    yaw = np.arctan2(*(own[1] - own[0])[1::-1])
    for start, end in zip(own, asked, strict=True):
        T = change(transform(matrix_from_rpy(0.0, 0.0, yaw), start))
        np.testing.assert_allclose(T[:3, 3], end, atol=1e-3)
        expected = np.arctan2(*(asked[1] - asked[0])[1::-1])
        assert np.arctan2(T[1, 0], T[0, 0]) == pytest.approx(expected, abs=1e-4) and abs(expected - yaw) > 0.05
    with pytest.raises(DriveError, match="is too far from 'utm 31 north': set world to another zone"):
        change(transform(np.eye(3), np.array([np.nan, 0.0, 0.0])))


def test_a_drive_across_a_zones_edge_stays_whole() -> None:
    positions, _ = utm_from_latlon(np.full(2, 51.0), np.array([-0.0005, 0.0005]), np.zeros(2))
    assert np.linalg.norm(positions[1] - positions[0]) == pytest.approx(70, abs=2)


def test_an_altitude_that_is_missing_is_that_of_its_neighbours() -> None:
    """It was 0, so that places 400 m up lay 400 m apart, and one was kept for each missing altitude."""
    altitude = np.array([np.nan, 410.0, np.inf, 414.0, np.nan])
    positions, _ = utm_from_latlon(np.full(5, 48.0), np.full(5, 9.0), altitude)
    assert positions[:, 2].tolist() == [410, 410, 412, 414, 414]


def test_a_band_letter_taken_for_the_hemisphere_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """56S is a band of the north by MGRS, and the south by other tools."""
    utm_from_latlon(np.array([-33.9]), np.array([151.2]), np.zeros(1), "utm 56S")
    assert "set world to 'utm 56 south'" in caplog.text
