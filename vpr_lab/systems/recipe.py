"""A lab recipe: one system, what it says of itself, and what differs from the recipe it is like. YAML in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vpr_ros.base.config import from_dict, merged, nested, option, read_yaml
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.files import shipped_folders

_ITS_OWN = ("about", "published")  # no recipe has these from the one it is like


@dataclass(frozen=True)
class LabRecipe:
    """What the YAML holds, with that of the recipe it is like underneath.

    train: fields of training.recipe.Recipe. settings: the task's own, see the task. short: what changes in all this
    where training is to be short. starts: part of the network -> where its weights come from, as RECIPE, RECIPE:PART or
    CHECKPOINT.pt:PART; the part "all" is the whole network. reference_brightness: condition of queries -> what the
    reference images are multiplied by before these are searched in them.
    """

    about: str = option("", "one line for the table")
    group: str = option("Others", "heading it stands under in the table")
    task: str = option("train", "how it comes about, by name in tasks.TASKS")
    published: tuple[str, ...] = option((), "the paper's rows for it, by name in published.PUBLISHED")
    ingredients: tuple[str, ...] = option((), "recipes whose systems this one is made of; they are trained first")
    train: dict[str, Any] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    short: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reference_brightness: dict[str, float] = field(default_factory=dict)


def load_recipe(name: str, full: bool = True, overrides: Mapping[str, Any] | None = None) -> LabRecipe:
    """A recipe by the name of one that ships, or by path.

    full: as the paper has it; else what it calls short put over it. overrides: put over that, dots for nesting, such as
    {"train.lr": 0.001}. Raises ConfigError where it is missing, unreadable, or does not fit.
    """
    recipe = from_dict(LabRecipe, _read(find_recipe(name), ()), name)
    for changes in ({} if full else recipe.short, nested(overrides or {})):
        recipe = from_dict(LabRecipe, merged(asdict(recipe), changes), name)
    return recipe


def find_recipe(name: str) -> Path:
    """The file of a recipe. Raises ConfigError naming those there are."""
    given = Path(name).expanduser()
    if given.suffix in (".yaml", ".yml"):
        if given.is_file():
            return given
        raise ConfigError(f"no recipe file {given}")
    for folder in _folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise ConfigError(f"no lab recipe called '{name}': give a .yaml file or one of {', '.join(known_recipes())}")


def known_recipes() -> list[str]:
    """Names of the recipes that ship; those whose name begins with _ are only there to be like."""
    names = {path.stem for folder in _folders() for path in folder.glob("*.yaml")}
    return sorted(name for name in names if not name.startswith("_"))


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file's names with values over those of the file it is like."""
    if path in above:
        raise ConfigError(f"{path}: recipes that are like each other in a circle: {' -> '.join(p.stem for p in above)}")
    data = read_yaml(path)
    like = data.pop("like", None)
    if like is None:
        return data
    beside = path.with_name(f"{like}.yaml")
    below = _read(beside if beside.is_file() else find_recipe(str(like)), (*above, path))
    return merged({key: value for key, value in below.items() if key not in _ITS_OWN}, data)


def _folders() -> list[Path]:
    return shipped_folders("config", "recipes", "lab")
