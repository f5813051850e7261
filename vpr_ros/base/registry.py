"""Parts chosen by name: those of this package, and those that other packages register by entry points.

Groups: ``vpr.drives``, ``vpr.adapters``, ``vpr.backends``, ``vpr.rerankers``, ``vpr.describers``,
``vpr.importers`` and ``vpr.commands``.
See the Python Packaging User Guide, "Entry points specification".
"""

from __future__ import annotations

import importlib
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vpr_ros.base.config import read_pairs
from vpr_ros.base.errors import ConfigError, MissingDependencyError, VprError, brief, missing_dependency, nearest_name

logger = logging.getLogger(__name__)


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points that installed packages have in a group, by name."""
    return {entry.name: entry for entry in entry_points(group=group)}


def names(group: str, own: Mapping[str, str]) -> list[str]:
    """All names that ``load`` accepts: this package's in their order, then the registered ones. own: see ``load``."""
    return [*own, *sorted(set(registered(group)) - set(own))]


def load(group: str, name: str, own: Mapping[str, str], kind: str) -> Any:
    """The part with this name.

    own: this package's parts, name -> "module:attribute"; they win over registered ones.
    kind: what to call a part in errors.
    Raises ConfigError for an unknown name, with the nearest one, and for a part that cannot be loaded;
    MissingDependencyError if a package is missing that the part needs.
    """
    if name in own:
        module, _, attribute = own[name].partition(":")
        return _imported(lambda: getattr(importlib.import_module(module), attribute), name, kind)
    found = registered(group)
    if name not in found:
        raise ConfigError(f"unknown {kind} '{name}'; {nearest_name(name, names(group, own))}")
    return _imported(found[name].load, name, kind)


def _imported(load_it: Callable[[], Any], name: str, kind: str) -> Any:
    try:
        return load_it()
    except VprError:
        raise
    except ImportError as error:
        raise missing_dependency(error) or MissingDependencyError(
            f"{kind} '{name}' cannot be imported: {brief(error)}"
        ) from error
    except Exception as error:  # of another package's module
        raise ConfigError(f"{kind} '{name}' cannot be loaded: {brief(error)}") from error


@contextmanager
def guarding(kind: str, name: str) -> Iterator[None]:
    """Turns an exception of another package's part into a ConfigError that names the part. kind: what to call it."""
    try:
        yield
    except VprError:
        raise
    except Exception as error:
        raise ConfigError(f"{kind} '{name}' failed: {type(error).__name__}: {brief(error)}") from error


def load_registered(group: str, kind: str, of: type | tuple[type, ...] = object) -> dict[str, Any]:
    """Every registered part of a group, by name.

    A part that cannot be loaded, or is not an instance of ``of``, is left out with one warning: a broken package must
    not stop the others. kind: what to call a part in the warning.
    """
    parts = {name: _load_or_warn(entry, kind, of) for name, entry in sorted(registered(group).items())}
    return {name: part for name, part in parts.items() if part is not None}


@cache  # one warning for each, however often the group is loaded
def _load_or_warn(entry: EntryPoint, kind: str, of: type | tuple[type, ...]) -> Any | None:
    try:
        part = entry.load()
        if not isinstance(part, of):
            raise TypeError(f"it is a {type(part).__name__}")
    except Exception as error:
        logger.warning("%s '%s' of %s cannot be loaded: %s", kind, entry.name, entry.value, brief(error))
        return None
    return part


def parse(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """ "NAME KEY=VALUE ..." -> the name, and its options with values read as YAML. Quote values that contain spaces.

    where: names the parameter in errors. Raises ConfigError if the text does not have this form.
    """
    try:
        name, *pairs = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: '{text}' must be NAME or NAME KEY=VALUE ... ({error})") from error
    return name, read_pairs(pairs, where)
