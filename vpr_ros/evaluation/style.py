"""The style of all pictures: colour-blind safe colours, thin lines, light axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK, QUIET, HAIRLINE, PAPER = "#1f2933", "#7b8794", "#d9dee4", "#ffffff"
RIGHT, WRONG, OFF_MAP, UNKNOWN = "#1a9c5b", "#d6336c", "#f2c14e", "#0072b2"
CONDITION_COLOURS = ("#0072b2", "#e69f00", "#6a4c93", "#009e73", "#cc3311", "#56b4e9")
ERROR_STOPS = ("#1a9c5b", "#8cc152", "#f2b134", "#e8590c", "#a61e4d")

_RC: Any = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": HAIRLINE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "font.family": "DejaVu Sans",
    "text.color": INK,
}


@contextmanager
def styled() -> Iterator[None]:
    """A context in which pictures are drawn and saved in this style; matplotlib's settings are restored after it."""
    from matplotlib import rc_context

    with rc_context(_RC):
        yield


def figure(rows: int, columns: int, size_in: tuple[float, float], **grid: Any) -> tuple[Figure, np.ndarray]:
    """An Agg figure outside pyplot's global state and its (rows, columns) axes; size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=size_in, layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False, **grid)


def error_colours() -> Colormap:
    """Colour map of errors: green is right, crimson is far off, blue is unknown."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("error", ERROR_STOPS).with_extremes(bad=UNKNOWN)


def condition_colours(conditions: Sequence[str]) -> dict[str, str]:
    """A colour for each condition, the same in every picture of a report."""
    names = list(dict.fromkeys(conditions))
    return {name: CONDITION_COLOURS[i % len(CONDITION_COLOURS)] for i, name in enumerate(names)}


def show_image(ax: Axes, image: np.ndarray | None, note: str = "", frame: str | None = None, **options: Any) -> None:
    """Show an image without axes, in a frame of the given colour; an empty tile if there is no image."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    if image is not None:
        ax.imshow(image, aspect="equal", interpolation="antialiased", **options)
    else:
        ax.set_facecolor("#f3f5f7")
        ax.text(0.5, 0.5, "no image", ha="center", va="center", fontsize=8, color=QUIET, transform=ax.transAxes)
        ax.set_box_aspect(0.75)
    for spine in ax.spines.values():
        spine.set(visible=frame is not None, color=frame or HAIRLINE, linewidth=3.5)
    if note:
        ax.set_xlabel(note, fontsize=8, color=INK, labelpad=3)
