"""What the columns of a table of poses are called: here, in EuRoC's files, and by other tools."""

from __future__ import annotations

import re
from collections import Counter

from vpr_ros.base.errors import DriveError
from vpr_ros.base.tally import Tally
from vpr_ros.drives import euroc
from vpr_ros.drives.files import Table, is_number

TIMES = {"stamp_ns": "nanoseconds", "stamp": "seconds"}
QUATERNION = ("qx", "qy", "qz", "qw")
POSES = ("x", "y", "z", "lat", "lon", "alt", *QUATERNION, "yaw")
_ALL = ("file", *TIMES, *POSES)
_EUROC = {euroc.TIME: "stamp_ns", euroc.FILE: "file"}
_EUROC |= dict(zip(euroc.POSITION, "xyz", strict=True)) | dict(zip(euroc.QUATERNION, QUATERNION, strict=True))
_ALSO = {"latitude": "lat", "longitude": "lon", "lng": "lon", "altitude": "alt", "easting": "x", "northing": "y"}
_ALSO |= {"tx": "x", "ty": "y", "tz": "z", "timestamp": "stamp", "time": "stamp", "elevation": "alt", "ele": "alt"}
_ALSO |= {"sourcefile": "file", "gpslatitude": "lat", "gpslongitude": "lon", "gpsaltitude": "alt"}  # exiftool's
# That may stand behind a name in brackets.
_UNITS = dict.fromkeys(("x", "y", "z", "alt"), ("m", "metres", "meters")) | {"yaw": ("rad", "radians")}
_UNITS |= dict.fromkeys(("lat", "lon"), ("deg", "degrees", "°")) | {"stamp": ("s", "sec", "seconds")}
_HEIGHTS = ("", *_UNITS["alt"])
_NANOSECONDS = ("ns", "nanoseconds")
_PLACED = {"x", "y"}, {"lat", "lon"}  # a table with both needs no other positions


def with_own_names(table: Table, tally: Tally) -> Table:
    """The table with the names of FolderDrive's columns. tally: counts those that are not used.

    Two columns that get one name are repeated. Raises DriveError for times that are needed, in a unit that is not said.
    """
    if euroc.POSITION[0] in table.columns:
        own = _EUROC | {"timestamp": "stamp_ns"}
        names = {name: own.get(name, name) for name in table.columns}
    else:
        names = {name: _EUROC.get(name) or _name_of(name, table) for name in table.columns}
        names = _with_height(names, table)
        used = _used(set(names.values()))
        unused = [name for name in table.columns if names[name] not in used]
        tally.add(
            f"column(s) not used: those of {', '.join(_ALL)} are, and one of each kind",
            f"{table.path.name}: {', '.join(unused)}",
            len(unused),
        )
    once = Counter(names.values())
    repeated = (*(names.get(name, name) for name in table.repeated), *(name for name in once if once[name] > 1))
    return Table(table.path, {names[name]: cells for name, cells in table.columns.items()}, repeated)


def _with_height(names: dict[str, str], table: Table) -> dict[str, str]:
    """Heights are alt beside lat and lon, z beside x and y; tools mix the two. With gaps neither is the other.

    Beside lat and lon the only column that means alt is alt, too.
    """
    have = set(names.values())
    other, own = ("z", "alt") if "lat" in have else ("alt", "z")
    heights = [name for name, now in names.items() if now == other]
    if not heights and own == "alt":
        bare = {name: _bare(name) for name in names}
        heights = [name for name, (is_of, unit) in bare.items() if _ALSO.get(is_of) == own and unit in _HEIGHTS]
    if own in have or len(heights) != 1 or not all(map(is_number, table.columns[heights[0]])):
        return names
    return names | {heights[0]: own}


def _used(have: set[str]) -> set[str]:
    """The columns that are read: one of each kind, if there are several."""
    used = {"file", *list(filter(have.__contains__, TIMES))[:1]}
    used |= {"lat", "lon", "alt"} if "lat" in have else {"x", "y", "z"}
    return used | (set(QUATERNION) if "qx" in have or "yaw" not in have else {"yaw"})


def _bare(name: str) -> tuple[str, str]:
    """A column's name without the unit in brackets, and the unit."""
    match = re.fullmatch(r"(.*?)\s*[\[(](.*)[\])]", name)
    return (match[1], match[2]) if match else (name, "")


def _name_of(name: str, table: Table) -> str:
    """What a column is called here; its own name if it is not used."""
    columns = table.columns
    bare, unit = _bare(name)
    own = _ALSO.get(bare, bare)
    is_time = own == "stamp"
    placed = any(both.issubset(columns) for both in _PLACED) and own in ("x", "y", "z", "lat", "lon", "alt")
    timed = is_time and any(time in columns for time in TIMES)
    if own == name or own in columns or placed or timed:
        return name
    if is_time and unit in _NANOSECONDS:
        return "stamp_ns"
    if is_time and not unit and "file" not in columns:
        raise DriveError(f"{table.path} has a column {name!r}: call it stamp for seconds, stamp_ns for nanoseconds")
    return own if unit in _UNITS.get(own, ()) or not (unit or is_time) else name
