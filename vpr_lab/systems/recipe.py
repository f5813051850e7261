"""A lab recipe: one system, how it is trained, and its line in the table. Read from YAML.

A recipe says only what differs from the one it is ``like``. A file may list ``variants`` of itself, each of which is a
recipe: ``gain.yaml`` has ``best``, which is called ``gain_best`` or ``gain:best``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vpr_ros.base.config import from_dict, merged, nested, option, read_yaml
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import shipped_folders

_ITS_OWN = ("about", "published")  # not inherited


@dataclass(frozen=True)
class LabRecipe:
    """The YAML's content, over that of the recipe it is like.

    train: fields of training.recipe.Recipe. settings: the task's own, see the task. short: changes for a short
    training. starts: part of the network -> source of its weights, as RECIPE, RECIPE:PART or CHECKPOINT.pt:PART; the
    part "all" is the whole network. reference_brightness: condition of queries -> factor on the reference images'
    brightness when these queries are searched in them.
    """

    about: str = option("", "one line for the table")
    group: str = option("Others", "heading in the table")
    task: str = option("train", "how the system is made, by name in tasks.TASKS")
    published: tuple[str, ...] = option((), "the paper's rows for it, by name in published.PUBLISHED")
    ingredients: tuple[str, ...] = option((), "recipes whose systems this one is made of; they are trained first")
    train: dict[str, Any] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    short: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reference_brightness: dict[str, float] = field(default_factory=dict)


def load_recipe(name: str, full: bool = True, overrides: Mapping[str, Any] | None = None) -> LabRecipe:
    """A recipe by the name of one that ships, or by path.

    full: as in the paper; else with its ``short`` over it. overrides: put over that, with dots for nesting, such as
    {"train.lr": 0.001}. Raises ConfigError if it is missing, unreadable or does not fit.
    """
    recipe = from_dict(LabRecipe, _read(name, Path(), ()), name)
    for changes in ({} if full else recipe.short, nested(overrides or {})):
        recipe = from_dict(LabRecipe, merged(asdict(recipe), changes), name)
    return recipe


def recipe_name(name: str) -> str:
    """A recipe's name in folders and tables: gain:best and gain_best are gain_best, some/mine.yaml is mine."""
    given, _, variant = name.partition(":")
    return f"{Path(given).stem}_{variant}" if variant else Path(given).stem


def known_recipes() -> list[str]:
    """Names of the recipes that ship, variants included. A file whose name begins with _ is only a base of others."""
    files = {path for folder in _folders() for path in folder.glob("*.yaml") if not path.stem.startswith("_")}
    return sorted({name for path in files for name in _recipes_of(path)})


def with_variants(name: str) -> list[str]:
    """The recipe itself; if its file only lists variants, all of them. Raises ConfigError."""
    path, variant = _find(name, Path())
    return [name] if variant or not _is_list(read_yaml(path)) else [f"{name}:{own}" for own in _variants(path)]


def _read(name: str, folder: Path, above: tuple[str, ...]) -> dict[str, Any]:
    """A recipe's fields over those of the recipe it is like, which may be in the same folder."""
    path, variant = _find(name, folder)
    key = f"{path}:{variant}" if variant else str(path)
    if key in above:
        circle = " -> ".join(recipe_name(other) for other in (*above, key))
        raise ConfigError(f"{path}: recipes are like each other in a circle: {circle}")
    data, variants = read_yaml(path), _variants(path)
    data.pop("variants", None)
    if _is_list({**data, "variants": variants}) and not variant:
        raise ConfigError(f"{name} is a list of variants: name one of {', '.join(f'{name}:{own}' for own in variants)}")
    like = data.pop("like", None)
    if variant:
        own = dict(variants[variant])
        other = own.pop("like", None)
        if other in variants and other != variant:  # its own name is another file's
            return merged(_inherited(_read(f"{path}:{other}", path.parent, (*above, key))), own)
        like, data = other or like, merged(_inherited(data), own)
    return data if like is None else merged(_inherited(_read(str(like), path.parent, (*above, key))), data)


def _inherited(below: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in below.items() if name not in _ITS_OWN}


def _find(name: str, folder: Path) -> tuple[Path, str]:
    """The file of a recipe and its variant, or "". Raises ConfigError naming those there are."""
    given, _, variant = name.partition(":")
    path = Path(given).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"no recipe file {path}")
        return path, _checked(path, variant)
    for own in (folder, *_folders()):
        if (own / f"{given}.yaml").is_file():
            return own / f"{given}.yaml", _checked(own / f"{given}.yaml", variant)
        for cut in range(len(given) - 1, 0, -1):
            file, rest = own / f"{given[:cut]}.yaml", given[cut + 1 :]
            if given[cut] == "_" and file.is_file() and rest in _variants(file):
                return file, rest
    raise ConfigError(f"no lab recipe called '{name}': give a .yaml file or one of {', '.join(known_recipes())}")


def _checked(path: Path, variant: str) -> str:
    if variant and variant not in _variants(path):
        raise ConfigError(f"{path} has no variant '{variant}': choose one of {', '.join(_variants(path)) or 'none'}")
    return variant


def _variants(path: Path) -> dict[str, dict[str, Any]]:
    """A file's variants by name. Raises ConfigError."""
    found = read_yaml(path).get("variants") or {}
    if not isinstance(found, dict) or not all(isinstance(own, dict) for own in found.values()):
        raise ConfigError(f"{path}: variants must be names with what each changes")
    for name in map(str, found):
        if name != Path(name).name or name == "..":  # it names a folder
            raise ConfigError(f"{path}: a variant cannot be called '{name}': leave out slashes and dots alone")
    return {str(name): own for name, own in found.items()}


def _is_list(data: Mapping[str, Any]) -> bool:
    """Whether a file only lists variants: it then has no line of its own for the table."""
    return bool(data.get("variants")) and not data.get("about")


def _recipes_of(path: Path) -> list[str]:
    own = [] if _is_list(read_yaml(path)) else [path.stem]
    return [*own, *(f"{path.stem}_{variant}" for variant in _variants(path))]


def _folders() -> list[Path]:
    return shipped_folders("config", "recipes", "lab")
