"""The distance of the best views from a photograph's position, and the same by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vpr_lab.simulation.views import ViewDatabase
from vpr_lab.systems.crosslocate.data import Queries
from vpr_lab.systems.crosslocate.model import CrossLocate, check_fit, describe_all
from vpr_ros.base.errors import ConfigError
from vpr_ros.base.geometry import wrap_angle
from vpr_ros.evaluation import style

COUNTS = (1, 10, 100)
DISTANCES_M = tuple(float(metres) for metres in range(5, 201, 5))
YAW_LIMIT_DEG = 30.0


@dataclass(frozen=True, eq=False)
class CrossLocateScores:
    """Recall of photographs among the views of one world.

    world; photographs, views: how many. counts: (K,) how many best views were looked at. distances_m: (T,) limits.
    recall, recall_yaw: (K, T) share of photographs with a view among their best that lies nearer than the limit, and
    with one that also looks less than yaw_limit_deg past the photograph's direction. chance, chance_yaw: (K, T) what a
    random order would reach. ranking: (Q, max(K)) rows of the views, best first.
    """

    world: str
    photographs: int
    views: int
    counts: tuple[int, ...]
    distances_m: tuple[float, ...]
    yaw_limit_deg: float
    recall: np.ndarray
    recall_yaw: np.ndarray
    chance: np.ndarray
    chance_yaw: np.ndarray
    ranking: np.ndarray

    def numbers(self) -> dict[str, Any]:
        """Plain data, ready for JSON or YAML: everything but the ranking."""
        curves = {
            name: {
                str(count): [float(v) for v in row] for count, row in zip(self.counts, getattr(self, name), strict=True)
            }
            for name in ("recall", "recall_yaw", "chance", "chance_yaw")
        }
        return {
            "world": self.world,
            "photographs": self.photographs,
            "views": self.views,
            "distances_m": list(self.distances_m),
            "yaw_limit_deg": self.yaw_limit_deg,
            **curves,
        }

    def at(self, distance_m: float) -> dict[str, float]:
        """One limit as a flat row: "recall@1", "recall_yaw@1", "chance@1" ... Raises ConfigError for another limit."""
        if distance_m not in self.distances_m:
            raise ConfigError(
                f"recall was not measured at {distance_m} m but at {', '.join(map(str, self.distances_m))}"
            )
        column = self.distances_m.index(distance_m)
        return {
            f"{name}@{count}": float(getattr(self, name)[row, column])
            for name in ("recall", "recall_yaw", "chance", "chance_yaw")
            for row, count in enumerate(self.counts)
        }

    def save_picture(self, path: Path) -> None:
        """Recall over distance without and with the yaw limit; chance is dashed."""
        with style.styled():
            figure, axes = style.figure(1, 2, (9.0, 3.6), sharey=True)
            titles = ("any direction", f"direction within {self.yaw_limit_deg:g}°")
            pairs = ((self.recall, self.chance), (self.recall_yaw, self.chance_yaw))
            for ax, title, (recall, chance) in zip(axes[0], titles, pairs, strict=True):
                for number, count in enumerate(self.counts):
                    colour = style.CONDITION_COLOURS[number % len(style.CONDITION_COLOURS)]
                    ax.plot(self.distances_m, 100 * recall[number], color=colour, label=f"best {count}")
                    ax.plot(self.distances_m, 100 * chance[number], color=colour, linestyle="--", linewidth=1.0)
                ax.set(title=title, xlabel="distance limit [m]", ylim=(0, 100), xlim=(0, max(self.distances_m)))
            axes[0, 0].set_ylabel("photographs found [%]")
            axes[0, 0].plot([], [], color=style.QUIET, linestyle="--", linewidth=1.0, label="chance")
            axes[0, 0].legend(loc="best")
            figure.savefig(path, dpi=150)


def evaluate_crosslocate(network: CrossLocate, database: ViewDatabase, queries: Queries) -> CrossLocateScores:
    """Rank all views for every photograph by their descriptors, and score the ranking.

    Raises ConfigError if views and photographs are of two worlds or not of the network's size.
    """
    check_fit(network, database, queries)
    network.eval()
    views = describe_all(partial(network.describe_views, database), np.arange(len(database))).numpy()
    photographs = describe_all(partial(network.describe_queries, queries), np.arange(len(queries))).numpy()
    ranking = np.argsort(-(photographs @ views.T), axis=1, kind="stable")[:, : max(COUNTS)]
    return score_ranking(ranking, database, queries)


def score_ranking(
    ranking: np.ndarray,
    database: ViewDatabase,
    queries: Queries,
    counts: Sequence[int] = COUNTS,
    distances_m: Sequence[float] = DISTANCES_M,
) -> CrossLocateScores:
    """ranking: (Q, N) rows of the views, best first; N at least the largest count, or all views."""
    distance = np.linalg.norm(database.position[None, :, :2] - queries.position[:, None, :2], axis=2)
    turned = np.abs(wrap_angle(database.heading[None] - queries.heading[:, None])) >= np.radians(YAW_LIMIT_DEG)
    curves = []
    for metres in (distance, np.where(turned, np.inf, distance)):
        nearest = np.minimum.accumulate(np.take_along_axis(metres, ranking, axis=1), axis=1)
        last = [min(count, ranking.shape[1]) - 1 for count in counts]
        curves.append(np.stack([(nearest[:, last] < limit).mean(0) for limit in distances_m], axis=1))
        right = np.stack([(metres < limit).sum(1) for limit in distances_m], axis=1)
        curves.append(np.stack([chance_recall(right, len(database), count).mean(0) for count in counts]))
    recall, chance, recall_yaw, chance_yaw = curves
    return CrossLocateScores(
        queries.world, len(queries), len(database), tuple(counts), tuple(distances_m), YAW_LIMIT_DEG,
        recall, recall_yaw, chance, chance_yaw, ranking,
    )  # fmt: skip


def chance_recall(right: np.ndarray, views: int, count: int) -> np.ndarray:
    """Probability that the first count of a random order of all views hold a right one: (...) in 0..1.

    right: (...) how many right views there are. Draws without replacement: one minus the product of the chances to
    miss, draw by draw.
    """
    right = np.asarray(right, float)
    missed = np.ones(right.shape)
    for drawn in range(min(count, views)):
        missed *= np.clip((views - right - drawn) / (views - drawn), 0.0, 1.0)
    return 1.0 - missed
