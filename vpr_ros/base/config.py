"""Configurations: frozen dataclasses whose fields have description, unit and range; YAML in and out.

One declaration serves the YAML file, the command line, the node's parameters and the tables in the documents. An
unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vpr_ros.base.errors import ConfigError, nearest_name

C = TypeVar("C")
_MOST_NAMED = 3  # differences in an error


def option(
    default: Any,
    description: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] = (),
) -> Any:
    """A dataclass field with its description.

    low, high: inclusive bounds. choices: all valid values, if there are only some.
    """
    metadata = {"description": description, "unit": unit, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


def unknown_key(key: str, known: Sequence[str], where: str) -> ConfigError:
    """The error for an unknown key, with the nearest known one."""
    return ConfigError(f"{where}: unknown parameter '{key}'; {nearest_name(key, known)}")


def renamed_key(key: str, renamed: Mapping[str, str], where: str) -> ConfigError:
    """The error for a key that was renamed. renamed: old name -> new name."""
    return ConfigError(f"{where}: '{key}' is called '{renamed[key]}' now; set that")


def from_dict(cls: type[C], data: dict[str, Any], where: str = "configuration") -> C:
    """Build a configuration from plain data, nested ones included.

    where: the source of the data, which begins each error. Raises ConfigError for an unknown key, a wrong type or a
    value outside its range.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected names with values, got {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key in getattr(cls, "RENAMED", ()) and not (key in fields and isinstance(value, dict)):
            raise renamed_key(key, cls.RENAMED, where)  # type: ignore[attr-defined]
        if key not in fields:
            raise unknown_key(key, list(fields), where)
        values[key] = checked(hints[key], fields[key], value, f"{where}: {key}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def checked(hint: Any, field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """A plain value as the field's type. Raises ConfigError, starting with where, for a wrong type or range."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if hint is str and value is None:  # YAML's "key:", and KEY= on the command line
        value = ""
    value = _typed(hint, value, where)
    choices, low, high = (field.metadata.get(name) for name in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ConfigError(f"{where} is {value!r}; choose one of {', '.join(map(str, choices))}")
    # "not (low <= value)" rather than "value < low": NaN fails it.
    if (low is not None and not low <= value) or (high is not None and not value <= high):
        unit = f" {field.metadata['unit']}" if field.metadata.get("unit") else ""
        wanted = f"lie in {low} .. {high}"
        if low is None or high is None:
            wanted = f"be at least {low}" if high is None else f"be at most {high}"
        raise ConfigError(f"{where} is {value}{unit}; it must {wanted}")
    return value


_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A YAML value as the hinted type: bool, int, float, str, tuple, dict, or a union with None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, str) and hint is float and _EXPONENT.fullmatch(value):  # YAML reads 1e3 as a text
        value = float(value)
    if isinstance(value, str) and origin is tuple and set(arguments) <= {float, Ellipsis}:
        with contextlib.suppress(ValueError):  # "0 0 1", as in the node's parameters
            value = [float(word) for word in value.replace(",", " ").split()]
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) != len(value):
            raise ConfigError(f"{where} is {value!r}; expected {len(inner)} numbers")
        return tuple(_typed(kind, item, where) for kind, item in zip(inner, value, strict=True))
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where} is {value}; it must be a finite number")
        return float(value)
    elif hint is Any or (isinstance(value, origin or hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f"{where} is {value!r}; expected {getattr(hint, '__name__', hint)}")


def check(config: Any, kind: type, where: str) -> None:
    """Raise ConfigError if a configuration made in Python is of another kind, or has a value of wrong type or range."""
    if not isinstance(config, kind):
        raise ConfigError(f"{where} is a {type(config).__name__}: give a {kind.__name__}")
    from_dict(kind, to_dict(config), where)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data, ready for YAML: tuples become lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(config))


def load_yaml(cls: type[C], path: Path, overrides: dict[str, Any] | None = None) -> C:
    """Defaults, beaten by the file, beaten by the overrides (the command line's flags).

    Raises ConfigError if the file is missing, is not YAML or has invalid values.
    """
    return from_dict(cls, merged(read_yaml(path), overrides or {}), str(path))


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"search.index": "Flat"} -> {"search": {"index": "Flat"}}."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        out = merged(out, value)
    return out


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; values of the one above win."""
    out = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two nested mappings, for an error: "train.lr 0.1, not 0.2, ..."; empty if nothing does."""
    was, found = _flat(before), _flat(now)
    changed = [name for name in {**found, **was} if was.get(name) != found.get(name)]
    named = (f"{name} {was.get(name, 'nothing')}, not {found.get(name, 'nothing')}" for name in changed[:_MOST_NAMED])
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    return ", ".join(named) + more


def _flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"train": {"lr": 0.1}} -> {"train.lr": 0.1}."""
    out: dict[str, Any] = {}
    for name, value in nested.items():
        inner = _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
        out.update(inner)
    return out


def split_pairs(items: Sequence[str], where: str) -> dict[str, str]:
    """["KEY=VALUE", ...] -> {KEY: VALUE}. Raises ConfigError, starting with where, if an item has another form."""
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (equals and key):
            raise ConfigError(f"{where}: '{item}' must be KEY=VALUE; quote a value that contains spaces")
        pairs[key] = value
    return pairs


def read_pairs(items: Sequence[str], where: str) -> dict[str, Any]:
    """["KEY=VALUE", ...] -> {KEY: VALUE}, with values read as YAML. Raises ConfigError, starting with where."""
    return {key: _read_value(value, f"{where}: {key}") for key, value in split_pairs(items, where).items()}


def _read_value(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date such as 2014-13-40
        raise ConfigError(f"{where}: '{text}' cannot be read as YAML") from error


def from_texts(cls: type[C], texts: Mapping[str, Any], where: str) -> C:
    """Build a configuration from values as a user types them. Raises ConfigError as ``from_dict`` does.

    A field of type str takes its text even if YAML would read a number, a date or nothing. Values that are not text are
    used as they are.
    """
    hints = typing.get_type_hints(cls)
    data = {
        key: _text(value, hints.get(key), f"{where}: {key}") if isinstance(value, str) else value
        for key, value in texts.items()
    }
    return from_dict(cls, data, where)


def _text(text: str, hint: Any, where: str) -> Any:
    if hint is not str:
        return _read_value(text, where)
    try:
        value = _read_value(text, where)
    except ConfigError:
        return text
    return value if isinstance(value, str) else text


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError if the file is missing or holds something else."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text()) or {}
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}: give a YAML file of names with values") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected names with values, got {data!r}")
    return data


def save_yaml(config: Any, path: Path) -> None:
    """Write a configuration, with all its values."""
    import yaml

    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
