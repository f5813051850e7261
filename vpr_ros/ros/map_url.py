"""Where a map lies that a service request or a launch file names. Knows no ROS until a package is named."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from vpr_ros.errors import MapError


def path_of(url: str) -> Path:
    """A plain path, file:///... or package://NAME/... as a path. Raises MapError for anything else."""
    if not url:
        raise MapError("no map named: give a path, file:///PATH or package://PACKAGE/PATH")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise MapError(f"{url} cannot be read as an address ({error}): give a path") from error
    if parts.scheme == "package":
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

        try:
            return Path(get_package_share_directory(parts.netloc)) / unquote(parts.path).lstrip("/")
        except (PackageNotFoundError, ValueError, LookupError, OSError) as error:
            raise MapError(f"{url} names a package that is not installed: {parts.netloc}") from error
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme:
        raise MapError(f"{url} cannot be opened: give a path, file:///PATH or package://PACKAGE/PATH")
    return Path(url).expanduser()
