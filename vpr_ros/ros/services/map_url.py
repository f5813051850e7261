"""The path of a map named by a parameter, request or launch file. Uses ROS only for package:// URLs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from vpr_ros.base.errors import MapError
from vpr_ros.maps.tile_files import is_address


def location_of(url: str) -> str:
    """The place of a map to localise on: an http(s) address of tiles as it is, else ``path_of``."""
    return url if is_address(url) else str(path_of(url))


def path_of(url: str) -> Path:
    """The path of a plain path (with ~ or without), file:///... or package://NAME/... Raises MapError otherwise."""
    if not url:
        raise MapError("no map given: give a path, file:///PATH or package://PACKAGE/PATH")
    scheme, is_address, rest = url.partition("://")
    if not is_address:
        try:
            return Path(url).expanduser()
        except RuntimeError as error:
            raise MapError(f"{url} is in the home of an unknown user: give an absolute path") from error
    if scheme == "package":
        from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

        package, _, inside = rest.partition("/")
        try:
            return Path(get_package_share_directory(package)) / unquote(inside)
        except (PackageNotFoundError, ValueError, LookupError, OSError) as error:
            raise MapError(f"package '{package}' of {url} is not installed: install it, or give a path") from error
    if scheme == "file":
        if not rest.startswith("/"):
            raise MapError(f"{url} is not an absolute path: write three slashes, file:///PATH")
        return Path(unquote(rest))
    raise MapError(
        f"{url} has an unknown scheme: give a path, file:///PATH, package://PACKAGE/PATH, or tiles at http(s)://"
    )
