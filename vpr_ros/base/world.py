"""Names of worlds: the frames of the poses of drives and maps. Drives of one world can share a map.

A world of UTM coordinates is its zone and hemisphere, "utm 56 south". The letters of the MGRS are not part of UTM: they
divide a zone into bands of eight degrees, and two drives through one town can lie in two bands.
"""

from __future__ import annotations

import re

LOCAL = "local"  # poses in a frame that only the drive has
FRAMES = "frames"  # frame numbers that stand for metres

_UTM = re.compile(r"utm\s*0*([1-9]\d?)\s*(north|south|[C-HJ-NP-X])", re.IGNORECASE)


def utm_world(zone: int, northern: bool) -> str:
    """Name of the world of UTM coordinates, such as "utm 30 north". zone: 1 to 60."""
    return f"utm {zone} {'north' if northern else 'south'}"


def utm_of(world: str) -> tuple[int, bool] | None:
    """(zone, whether northern) of a world of UTM coordinates; None for other worlds.

    Older maps and data sets give the zone with its MGRS band, such as "utm 30U": bands C to M lie south of the equator,
    N to X north of it. So the S of "utm 13S" is a band, 32 to 40 degrees north, not the southern hemisphere.
    """
    found = _UTM.fullmatch(world.strip())
    if found is None or int(found[1]) > 60:
        return None
    half = found[2].lower()
    return int(found[1]), half == "north" if len(half) > 1 else half >= "n"


def world_advice(world: str, wanted: str) -> str:
    """What to do with a drive whose world is not the wanted one."""
    wanted = canonical_world(wanted)
    if wanted == FRAMES:
        return "its places are frame numbers, so give --numbered"
    if world == FRAMES:
        return "leave out --numbered"
    if utm_of(world) and utm_of(wanted):
        return f"convert the coordinates to its zone with -d world='{wanted}'"
    if utm_of(wanted):
        return "give the drive's poses as latitude and longitude, or as UTM coordinates"
    return f"if its poses are in that frame, say so with -d world='{wanted}'"


def canonical_world(world: str) -> str:
    """The one name of a world: "utm 30U" is "utm 30 north"; other names stay as they are, without blanks around."""
    utm = utm_of(world)
    return world.strip() if utm is None else utm_world(*utm)
