"""Where a map lies that a parameter, a request or a launch file names. Knows no ROS until a package is named."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from vpr_ros.base.errors import MapError


def path_of(url: str) -> Path:
    """A path, with ~ or without, file:///... or package://NAME/... as a path. Raises MapError for anything else."""
    if not url:
        raise MapError("no map named: give a path, file:///PATH or package://PACKAGE/PATH")
    scheme, is_address, rest = url.partition("://")
    if not is_address:
        try:
            return Path(url).expanduser()
        except RuntimeError as error:
            raise MapError(f"{url} names the home of a user who is not there: give a whole path") from error
    if scheme == "package":
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

        package, _, inside = rest.partition("/")
        try:
            return Path(get_package_share_directory(package)) / unquote(inside)
        except (PackageNotFoundError, ValueError, LookupError, OSError) as error:
            raise MapError(f"{url} names a package that is not installed: {package}") from error
    if scheme == "file":
        if not rest.startswith("/"):
            raise MapError(f"{url} names no whole path: it needs three slashes, file:///PATH")
        return Path(unquote(rest))
    raise MapError(f"{url} cannot be opened: give a path, file:///PATH or package://PACKAGE/PATH")
