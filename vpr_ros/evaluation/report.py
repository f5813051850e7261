"""The report: one HTML file with everything in it that opens without a network, and pictures as PNG next to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vpr_ros import __version__
from vpr_ros.evaluation.charts import CHARTS
from vpr_ros.evaluation.report_data import report_data
from vpr_ros.evaluation.scenes import Images, Plan, draw_pictures
from vpr_ros.evaluation.summary import (
    Assessment,
    calibration_rows,
    headline_figures,
    recall_rows,
    speed_rows,
    summarise_all,
)


def write_report(
    path: Path,
    runs: Sequence[Assessment],
    images: Mapping[str, Images] | None = None,
    plan: Plan | None = None,
    title: str = "Localisation report",
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write ``path`` (HTML, self-contained) and pictures for slides as PNG into ``<stem>_pictures`` next to it.

    Pictures of an earlier report there are removed.
    images: by the runs' names. plan: what to draw under the tracks. facts: how the report was made (model, map,
    machine), by name.
    """
    folder = path.parent / f"{path.stem}_pictures"
    for earlier in folder.glob("*.png"):
        earlier.unlink()
    images, plan = images or {}, plan or Plan()
    for run in runs:
        draw_pictures(run, images.get(run.run.name, Images()), plan, folder)
    summaries = [run.summary for run in runs]
    if len(runs) > 1:
        summaries.append(summarise_all(runs))
    charts = {chart.name: chart.draw(runs) for chart in CHARTS}
    return write_page(
        path,
        "report.html",
        title=title,
        facts=dict(facts or {}),
        tolerance=summaries[-1].tolerance,
        figures=headline_figures(summaries),
        tables=[rows(summaries) for rows in (recall_rows, calibration_rows, speed_rows)],
        charts=CHARTS,
        pictures=folder.name,
        data={**report_data(runs, images, plan), "charts": charts},
    )


def check_report() -> None:
    """Raises ImportError if no report can be written: before hours of work, not after them. rosdep has no plotly."""
    import jinja2  # noqa: F401
    import plotly  # noqa: F401


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Fill a template of this package, scripts and pictures inlined, write it to path and return that."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("vpr_ros.evaluation"), autoescape=select_autoescape())
    environment.filters["inline"] = _inline
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    page = environment.get_template(template)
    html = page.render(version=__version__, made=made, plotly=_plotly, **content)
    path.write_text(html, encoding="utf-8")
    return path


def _plotly() -> str:
    """Plotly's script, for charts that can be zoomed and clicked."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _inline(path: Path) -> str:
    """A picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
