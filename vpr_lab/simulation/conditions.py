"""Season, weather, light and camera state of one drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vpr_ros.base.errors import ConfigError

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Condition:
    """What the town and the camera are like during one drive.

    Lights are linear RGB; one is a white surface under an overcast noon. sun_azimuth_deg: counter-clockwise from
    east; sun_elevation_deg above the horizon. sun, ambient: their light. zenith, horizon: the sky's colours. clouds:
    0..1 covered. fog_per_m: extinction. snow, wet, night, autumn: 0..1. foliage: share of leaves left. lamp: light of
    street lamps; headlights: of our own car. lit_windows: share. exposure: gain before the film curve. noise:
    deviation in 8-bit steps; motion_px, defocus_px: blurs; droplets: on the lens; white_balance; vignetting: 0..1
    darkening in the corners; jpeg: quality. seed: of all that differs from drive to drive.
    """

    name: str
    seed: int = 0
    sun_azimuth_deg: float = 200.0
    sun_elevation_deg: float = 40.0
    sun: Rgb = (0.0, 0.0, 0.0)
    ambient: Rgb = (0.85, 0.88, 0.92)
    zenith: Rgb = (0.75, 0.8, 0.86)
    horizon: Rgb = (0.95, 0.96, 0.97)
    clouds: float = 1.0
    fog_per_m: float = 0.0012
    snow: float = 0.0
    wet: float = 0.0
    night: float = 0.0
    autumn: float = 0.0
    foliage: float = 1.0
    lamp: Rgb = (0.0, 0.0, 0.0)
    headlights: float = 0.0
    lit_windows: float = 0.0
    exposure: float = 1.2
    noise: float = 1.5
    motion_px: float = 0.0
    defocus_px: float = 0.4
    droplets: int = 0
    white_balance: Rgb = (1.0, 1.0, 1.0)
    vignetting: float = 0.2
    jpeg: int = 90

    @staticmethod
    def preset(name: str, seed: int = 0) -> Condition:
        """One of PRESETS, varied within it by the seed. Raises ConfigError for an unknown name."""
        if name not in _PRESETS:
            raise ConfigError(f"no condition '{name}': use one of {', '.join(_PRESETS)}")
        rng = np.random.default_rng([seed, *name.encode()])
        return _camera_jitter(_PRESETS[name](Condition(name, seed), rng), rng)


def _camera_jitter(condition: Condition, rng: np.random.Generator) -> Condition:
    warm = rng.normal(0, 0.04)
    balance = np.array(condition.white_balance) * [1 + warm, 1 + rng.normal(0, 0.012), 1 - warm]
    return replace(
        condition,
        exposure=condition.exposure * float(np.exp(rng.normal(0, 0.2))),
        noise=condition.noise * rng.uniform(0.6, 1.6),
        defocus_px=float(rng.uniform(0.25, 0.65)),
        motion_px=condition.motion_px + rng.uniform(0, 1.2),
        vignetting=float(rng.uniform(0.05, 0.4)),
        white_balance=_rgb(balance),
        jpeg=int(rng.integers(75, 96)),
    )


def _rgb(values: np.ndarray | list[float]) -> Rgb:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _overcast(base: Condition, rng: np.random.Generator) -> Condition:
    light = np.array([0.86, 0.9, 0.96]) * rng.uniform(0.85, 1.1)
    return replace(
        base,
        ambient=_rgb(light),
        zenith=_rgb(light * 0.85),
        horizon=_rgb(light * 1.08),
        clouds=float(rng.uniform(0.85, 1.0)),
        fog_per_m=float(rng.uniform(0.0002, 0.0014)),
        wet=float(rng.uniform(0, 0.3) * (rng.random() < 0.4)),
        foliage=float(rng.uniform(0.75, 1.0)),
    )


def _sun(base: Condition, rng: np.random.Generator) -> Condition:
    elevation = rng.uniform(18, 58)
    warm = np.clip((40 - elevation) / 40, 0, 1)
    return replace(
        base,
        sun_azimuth_deg=float(rng.uniform(0, 360)),
        sun_elevation_deg=float(elevation),
        sun=_rgb(np.array([2.1, 1.98 - 0.2 * warm, 1.78 - 0.5 * warm]) * rng.uniform(0.85, 1.2)),
        ambient=_rgb(np.array([0.36, 0.45, 0.6]) * rng.uniform(0.8, 1.2)),
        zenith=_rgb(np.array([0.12, 0.27, 0.66]) * rng.uniform(0.85, 1.15)),
        horizon=_rgb(np.array([0.56, 0.72, 0.94]) * rng.uniform(0.85, 1.15)),
        clouds=float(rng.uniform(0.0, 0.55)),
        fog_per_m=float(rng.uniform(0.0001, 0.0009)),
        exposure=0.95,
    )


def _snow(base: Condition, rng: np.random.Generator) -> Condition:
    light = np.array([0.82, 0.87, 0.95]) * rng.uniform(0.75, 1.0)
    return replace(
        base,
        ambient=_rgb(light),
        zenith=_rgb(light * 0.82),
        horizon=_rgb(light),
        clouds=float(rng.uniform(0.85, 1.0)),
        fog_per_m=float(rng.uniform(0.0006, 0.004)),
        snow=float(rng.uniform(0.55, 1.0)),
        wet=float(rng.uniform(0.2, 0.6)),
        foliage=0.0 if rng.random() < 0.8 else 0.25,
        autumn=0.8,
        lit_windows=float(rng.uniform(0, 0.08)),
        exposure=0.95,
        droplets=int(rng.integers(0, 4)),
    )


def _night(base: Condition, rng: np.random.Generator) -> Condition:
    glow = np.array([0.016, 0.016, 0.022]) * rng.uniform(0.4, 1.6)
    sodium = np.array([1.0, 0.62, 0.25]) if rng.random() < 0.6 else np.array([0.95, 0.95, 0.9])
    return replace(
        base,
        ambient=_rgb(glow),
        zenith=_rgb(glow * 0.4),
        horizon=_rgb(glow * np.array([1.6, 1.2, 0.9])),
        clouds=float(rng.uniform(0.2, 1.0)),
        fog_per_m=float(rng.uniform(0.0005, 0.003)),
        wet=float(rng.uniform(0, 0.8) * (rng.random() < 0.4)),
        night=1.0,
        lamp=_rgb(sodium * rng.uniform(0.45, 1.0)),
        headlights=float(rng.uniform(0.7, 1.4)),
        lit_windows=float(rng.uniform(0.08, 0.35)),
        exposure=1.5,
        noise=5.5,
        motion_px=1.2,
        foliage=float(rng.uniform(0.5, 1.0)),
    )


def _rain(base: Condition, rng: np.random.Generator) -> Condition:
    light = np.array([0.55, 0.6, 0.67]) * rng.uniform(0.8, 1.1)
    return replace(
        base,
        ambient=_rgb(light),
        zenith=_rgb(light * 0.75),
        horizon=_rgb(light * 1.02),
        clouds=1.0,
        fog_per_m=float(rng.uniform(0.001, 0.005)),
        wet=float(rng.uniform(0.7, 1.0)),
        lit_windows=float(rng.uniform(0, 0.12)),
        headlights=0.15,
        exposure=1.6,
        noise=2.5,
        droplets=int(rng.integers(6, 30)),
    )


def _dusk(base: Condition, rng: np.random.Generator) -> Condition:
    light = np.array([0.17, 0.18, 0.26]) * rng.uniform(0.6, 1.4)
    return replace(
        base,
        sun_azimuth_deg=float(rng.uniform(0, 360)),
        sun_elevation_deg=float(rng.uniform(5, 10)),
        sun=_rgb(np.array([0.42, 0.22, 0.1]) * rng.uniform(0.0, 1.0)),
        ambient=_rgb(light),
        zenith=_rgb(light * np.array([0.7, 0.85, 1.3])),
        horizon=_rgb(light * np.array([2.6, 1.8, 1.25])),
        clouds=float(rng.uniform(0.1, 0.7)),
        fog_per_m=float(rng.uniform(0.0005, 0.002)),
        night=0.5,
        lamp=_rgb(np.array([1.0, 0.7, 0.36]) * rng.uniform(0.1, 0.3)),
        headlights=0.3,
        lit_windows=float(rng.uniform(0.15, 0.4)),
        exposure=1.7,
        noise=3.5,
    )


def _autumn(base: Condition, rng: np.random.Generator) -> Condition:
    sunny = rng.random() < 0.6
    drawn = _sun(base, rng) if sunny else _overcast(base, rng)
    return replace(
        drawn,
        sun_elevation_deg=float(rng.uniform(12, 35)),
        autumn=float(rng.uniform(0.7, 1.0)),
        foliage=float(rng.uniform(0.3, 0.9)),
        wet=float(rng.uniform(0, 0.5)),
    )


_PRESETS: dict[str, Callable[[Condition, np.random.Generator], Condition]] = {
    "overcast": _overcast,
    "sun": _sun,
    "snow": _snow,
    "night": _night,
    "rain": _rain,
    "dusk": _dusk,
    "autumn": _autumn,
}
PRESETS = tuple(_PRESETS)
