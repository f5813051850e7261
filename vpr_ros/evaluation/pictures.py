"""Every picture of the report, in its order. To add one: write a function in curves.py or scenes.py, list it here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.evaluation import curves, scenes, style
from vpr_ros.evaluation.scenes import Images, Plan
from vpr_ros.evaluation.summary import Assessment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Overview:
    """A picture of all runs together."""

    name: str
    title: str
    caption: str
    draw: Callable[[Sequence[Assessment]], Figure]


@dataclass(frozen=True)
class Scene:
    """A picture of one run; its draw returns None where the run has nothing to show."""

    name: str
    title: str
    caption: str
    draw: Callable[[Assessment, Images, Plan], Figure | None]


@dataclass(frozen=True)
class Drawn:
    """A picture on disk, with its words."""

    path: Path
    title: str
    caption: str


OVERVIEWS = (
    Overview(
        "recall_at_n",
        "Recall@N",
        "Share of frames on the map with a right place among the N best; filtered, a wrong “off the map” is a miss.",
        curves.recall_at_n,
    ),
    Overview(
        "recall_at_distance",
        "Top-1 recall over distance",
        "Share of the frames on the map whose best answer lies nearer to the truth than the distance on the axis.",
        curves.recall_at_distance,
    ),
    Overview(
        "precision_recall",
        "Precision and recall",
        "What happens as answers are accepted with ever less confidence; frames off the map count against precision.",
        curves.precision_recall,
    ),
    Overview(
        "reliability",
        "Reliability",
        "Of the answers given a probability, how many were right; on the dashed line it is as sure as it should be.",
        curves.reliability,
    ),
)
SCENES = (
    Scene(
        "map",
        "From above",
        "The map's places, the true track, and each estimate coloured by its error; thin lines tie estimates that "
        "went astray to where the camera was.",
        scenes.town,
    ),
    Scene(
        "confidence",
        "Confidence over time",
        "How sure it was of its best pose and of “not on this map”; shaded where the camera truly was off the map.",
        scenes.confidence,
    ),
    Scene(
        "queries",
        "Queries and their five best places",
        "Single frame, without the filter. Green frame: a right place; red: a wrong one. Distances are to the truth.",
        scenes.queries,
    ),
    Scene(
        "depth", "Hallucinated depth", "What the network makes of one image: depth it was never shown.", scenes.depth
    ),
)


def draw_overviews(runs: Sequence[Assessment], folder: Path) -> list[Drawn]:
    """Draw the pictures of all runs together as ``folder/<name>.png``."""
    with style.styled():
        return [_save(picture.draw(runs), folder / f"{picture.name}.png", picture) for picture in OVERVIEWS]


def draw_scenes(run: Assessment, images: Images, plan: Plan, folder: Path) -> list[Drawn]:
    """Draw the pictures of one run as ``folder/<run>_<name>.png``."""
    drawn = []
    with style.styled():
        for picture in SCENES:
            if figure := picture.draw(run, images, plan):
                drawn.append(_save(figure, folder / f"{run.run.slug}_{picture.name}.png", picture))
    return drawn


def _save(figure: Figure, path: Path, picture: Overview | Scene) -> Drawn:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.1)
    return Drawn(path, picture.title, picture.caption)
