"""Geodesy: known positions, southern and edge zones, and headings that do not spin at rest."""

from __future__ import annotations

import numpy as np
import pytest

from vpr_ros.base.errors import DriveError
from vpr_ros.base.geometry import matrix_from_rpy, transform, wrap_angle
from vpr_ros.base.tally import Tally
from vpr_ros.drives.geodesy import good_fixes, headings_from_track, strays, utm_from_latlon, utm_zone, zone_change


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


def test_what_is_no_fix_is_counted() -> None:
    """0, 0 before the first fix, NaN and what lies off the globe are left out; exchanged columns are a sentence."""
    tally = Tally()
    latitude = np.array([0.0, np.nan, 51.0, 51.0, 95.0])
    longitude = np.array([0.0, 1.0, 0.0, 0.1, 3.0])
    assert good_fixes(latitude, longitude, tally, "gps").tolist() == [False, False, True, True, False]
    assert [line.split(" ", 1)[0] for line in tally.lines()] == ["1", "1", "1"]
    with pytest.raises(DriveError, match=r"latitude 151.2, longitude -33.9 is out of range.*swapped"):
        good_fixes(np.full(3, 151.2), np.full(3, -33.9), tally, "gps")
    with pytest.raises(DriveError, match=r"no position is a valid fix; .*0, 0 is no fix"):
        good_fixes(np.zeros(3), np.zeros(3), Tally(), "gps")


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


@pytest.mark.parametrize("noise_m", [0.05, 0.3, 1.0])
def test_headings_do_not_spin_where_a_noisy_receiver_stands(noise_m: float) -> None:
    """A minute at a red light turned the camera about by up to 180 degrees, from 0.3 m of noise on."""
    rng = np.random.default_rng(0)
    along = np.concatenate([np.arange(0, 100, 1.0), np.full(600, 100.0), np.arange(100, 200, 1.0)])
    track = np.column_stack([along, np.zeros_like(along)]) + rng.normal(0, noise_m, (len(along), 2))
    headings = headings_from_track(track)
    assert headings is not None and np.degrees(np.abs(wrap_angle(headings[100:700]))).max() < 30


def test_a_single_fix_far_aside_is_no_position() -> None:
    """Reflections do that, for one fix; a ferry, a tunnel and a receiver that starts again do not come back."""
    stamps = np.arange(8) * 10**9
    there = np.column_stack([10.0 * np.arange(8), np.zeros(8), np.zeros(8)])
    there[4, 1] = 572.0
    assert np.flatnonzero(strays(there, stamps)).tolist() == [4]
    moved_on = there + np.where(np.arange(8)[:, None] > 3, 500.0, 0.0)
    moved_on[4, 1] -= 572.0
    assert not strays(moved_on, stamps).any() and not strays(there[:2], stamps[:2]).any()
    assert not strays(there, 100 * stamps).any()


@pytest.mark.parametrize("hop_m", [0.0, 100.0])
def test_fixes_far_aside_for_seconds_are_no_positions(hop_m: float) -> None:
    """Only single ones were found; at 10 Hz a reflection is a dozen of them, in one place or hopping between three."""
    count = 1000
    stamps = np.arange(count) * 10**8
    there = np.column_stack([np.arange(count), np.zeros(count), np.zeros(count)])
    there[400:430, 1] += 300.0 + hop_m * (np.arange(30) % 3)
    there[700, 1] = 80.0
    assert np.flatnonzero(strays(there, stamps)).tolist() == [*range(400, 430), 700]
    there[1::3, 1] += 500.0  # another vehicle's
    assert not strays(there, stamps).any()
    rounded = np.column_stack([30.0 * np.arange(100), np.zeros(100), np.zeros(100)])  # 30 m/s, two times twice
    seconds = np.arange(100) * 10**9
    seconds[[50, 60]] = seconds[[49, 59]]
    assert not strays(rounded, seconds).any()


def test_what_lies_between_two_strays_at_one_spot_is_kept() -> None:
    """A phone falls back to the place of one radio mast: all good fixes between two of those were left out."""
    there = np.column_stack([10.0 * np.arange(10000), np.zeros(10000), np.zeros(10000)])
    there[[0, 800]] = 0, 5000, 0
    assert np.flatnonzero(strays(there, np.arange(10000) * 10**9)).tolist() == [800]


def test_an_altitude_that_is_missing_is_that_of_its_neighbours() -> None:
    """It was 0, so that places 400 m up lay 400 m apart, and one was kept for each missing altitude."""
    altitude = np.array([np.nan, 410.0, np.inf, 414.0, np.nan])
    positions, _ = utm_from_latlon(np.full(5, 48.0), np.full(5, 9.0), altitude)
    assert positions[:, 2].tolist() == [410, 410, 412, 414, 414]


def test_radians_are_told() -> None:
    """They lie off Africa, 57 times too close together, and the map was built without a word."""
    tally = Tally()
    good_fixes(np.radians([48.0, 48.1]), np.radians([8.0, 8.1]), tally, "log")
    assert any("as radians are that are taken for degrees" in line for line in tally.lines())


def test_a_band_letter_taken_for_the_hemisphere_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """56S is a band of the north by MGRS, and the south by other tools."""
    utm_from_latlon(np.array([-33.9]), np.array([151.2]), np.zeros(1), "utm 56S")
    assert "set world to 'utm 56 south'" in caplog.text
