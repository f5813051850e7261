"""Top-K pictures: queries beside their five nearest places, right ones framed green, wrong ones red."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from vpr_ros.evaluation import style

SHOWN_PLACES = 5


class Images(Protocol):
    """Images by their rows, (H, W, 3) uint8 RGB each: an array, or what makes them as they are asked for."""

    def __getitem__(self, row: int, /) -> np.ndarray: ...


class Album(Protocol):
    """Images of known places: a Shard, for one."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> Images: ...

    @property
    def position(self) -> np.ndarray:
        """(N, 2) or (N, 3) map metres, those of queries and of their reference alike."""
        ...


def draw_topk(
    query: Album,
    reference: Album,
    order: np.ndarray,
    path: Path,
    tolerance_m: float = 25.0,
    rows: int = 6,
    seed: int = 0,
) -> Path:
    """Draw some queries, a row each, beside the first five places found for them; returns the picture's path.

    order: (Q, K) rows of the reference, best first, for each row of the query. A place is right if it lies nearer
    than tolerance_m. A third of the rows are queries whose best place is right, a third such whose best is wrong
    (though there is a right one), the rest any; if there are too few of a kind, others stand in.
    """
    order = np.asarray(order)[:, :SHOWN_PLACES]
    distance = np.linalg.norm(query.position[:, None, :2] - reference.position[order, :2], axis=2)
    nearest = np.array([np.linalg.norm((reference.position - own)[:, :2], axis=1).min() for own in query.position])
    chosen = choose_rows(distance[:, 0] < tolerance_m, nearest < tolerance_m, rows, np.random.default_rng(seed))
    shapes = [query.images[chosen[0]].shape, reference.images[int(order[0, 0])].shape]
    tallest = max(height / width for height, width, _ in shapes)
    columns = 1 + order.shape[1]
    with style.styled():
        size_in = (1.92 * columns, (1.83 * tallest + 0.35) * len(chosen) + 0.25)
        fig, axes = style.figure(len(chosen), columns, size_in)
        titles = ["query", "best place", *(f"place {number}" for number in range(2, columns))]
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title)
        for tiles, row in zip(axes, chosen, strict=True):
            style.show_image(tiles[0], query.images[row], f"image {row}, nearest place {nearest[row]:.0f} m")
            for ax, place, metres in zip(tiles[1:], order[row], distance[row], strict=True):
                colour = style.RIGHT if metres < tolerance_m else style.WRONG
                style.show_image(ax, reference.images[place], f"{metres:.0f} m", colour)
        names = f"{query.name} in {reference.name}"
        fig.supxlabel(f"{names}; green: nearer than {tolerance_m:g} m, red: farther", fontsize=8, color=style.QUIET)
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.1)
    return path


def choose_rows(right: np.ndarray, on_map: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """Rows of queries worth a look, in their order: a third right, a third wrong, the rest any.

    right, on_map: (Q,) bool, whether a query's best place is right, and whether there is a right one at all. Queries
    off the map are drawn only if there are no others.
    """
    pool = rng.permutation(len(right))
    groups = [pool[(right & on_map)[pool]], pool[(~right & on_map)[pool]]]
    wanted = [row for group in groups for row in group[: count // 3].tolist()]
    rest = [*pool[on_map[pool]].tolist(), *pool[~on_map[pool]].tolist()]
    return sorted(list(dict.fromkeys([*wanted, *rest]))[:count])
