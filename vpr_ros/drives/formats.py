"""Drive formats: which kinds of recordings can be read, and what recognises and opens each.

To add one, write a module with a ``Format`` and register it as an entry point of group ``vpr.drives``:

    [options.entry_points]
    vpr.drives =
        nclt = my_package.nclt:FORMAT
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vpr_ros.base.registry import load, load_registered
from vpr_ros.drives.drive import Drive
from vpr_ros.drives.options import DriveOptions

GROUP = "vpr.drives"


@dataclass(frozen=True)
class Format:
    """A kind of recording.

    description: with its article, for lists of what can be opened: "a KITTI sequence".
    recognises: whether an existing file or folder is of this format. Called for every drive, so it must be quick.
    open: ``(path, options) -> Drive``; raises DriveError if a part of the recording is missing or damaged.
    options: the class of ``options``. A format with options of its own subclasses DriveOptions, as a frozen dataclass.
    """

    description: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, Any], Drive]
    options: type[DriveOptions] = DriveOptions
    takes: tuple[str, ...] = ()
    """Names of the options that it uses, beside name and world; empty if that is not said. Others that a user gives are
    refused."""
    package: str = ""
    """Set when the format is loaded: the name of an entry point of another package; empty for this package's own."""


# This package's formats, in the order in which they are asked: from the most specific to any folder of images.
OWN = {
    "bag": "vpr_ros.drives.bag_format:FORMAT",
    "robotcar": "vpr_ros.drives.robotcar:FORMAT",
    "kitti": "vpr_ros.drives.kitti:FORMAT",
    "euroc": "vpr_ros.drives.euroc:FORMAT",
    "utm_folder": "vpr_ros.drives.utm_folder:FORMAT",
    "folder": "vpr_ros.drives.folder:FORMAT",
}


def all_formats() -> dict[str, Format]:
    """Name -> format, in the order in which they are asked. Registered ones come first: they are more specific.

    A registered format that cannot be loaded is left out with a warning.
    """
    registered = load_registered(GROUP, "drive format", Format)
    own = {name: load(GROUP, name, OWN, "drive format") for name in OWN}
    others = {name: replace(format, package=name) for name, format in registered.items() if name not in own}
    return others | own
