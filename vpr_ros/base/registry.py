"""Parts chosen by name: those of this package, and those that other packages register by entry points.

Groups: ``vpr.drives``, ``vpr.adapters``, ``vpr.backends``, ``vpr.rerankers``, ``vpr.describers`` and ``vpr.commands``.
See the Python Packaging User Guide, "Entry points specification".
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vpr_ros.base.errors import ConfigError, MissingDependencyError, brief, missing_dependency, nearest_name


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points that installed packages have in a group, by name."""
    return {entry.name: entry for entry in entry_points(group=group)}


def names(group: str, own: Mapping[str, str]) -> list[str]:
    """All names that ``load`` knows. own: see there."""
    return sorted({*own, *registered(group)})


def load(group: str, name: str, own: Mapping[str, str], kind: str) -> Any:
    """What a name stands for.

    own: this package's, name -> "module:attribute", which win over registered ones. kind: what to call it in an error.
    Raises ConfigError for an unknown name (with the nearest one), MissingDependencyError if it cannot be imported.
    """
    if name in own:
        module, _, attribute = own[name].partition(":")
        return getattr(_imported(lambda: importlib.import_module(module), name, kind), attribute)
    found = registered(group)
    if name not in found:
        raise ConfigError(f"unknown {kind} '{name}'; {nearest_name(name, names(group, own))}")
    return _imported(found[name].load, name, kind)


def _imported(load_it: Any, name: str, kind: str) -> Any:
    try:
        return load_it()
    except ImportError as error:
        raise missing_dependency(error) or MissingDependencyError(
            f"{kind} '{name}' cannot be imported: {brief(error)}"
        ) from error


def parse(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """ "NAME KEY=VALUE ..." -> the name, and its options with values read as YAML. Quote values that contain spaces.

    where: names the parameter in errors. Raises ConfigError if the text does not have this form.
    """
    import yaml

    try:
        name, *pairs = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: '{text}' must be NAME or NAME KEY=VALUE ... ({error})") from error
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key):
            raise ConfigError(f"{where}: '{pair}' in '{text}' must be KEY=VALUE; quote a value that contains spaces")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}: the value of '{pair}' cannot be read as YAML") from error
    return name, options
