"""The report: one HTML file with everything in it, and its pictures as PNG beside it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vpr_ros import __version__
from vpr_ros.evaluation.pictures import draw_overviews, draw_scenes
from vpr_ros.evaluation.scenes import Images, Plan
from vpr_ros.evaluation.summary import Assessment, honesty_rows, recall_rows, speed_rows, summarise_all


def write_report(
    path: Path,
    runs: Sequence[Assessment],
    images: Mapping[str, Images] | None = None,
    plan: Plan | None = None,
    title: str = "Where am I?",
    facts: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``path`` (HTML, self-contained) and the pictures as PNG into ``<stem>_pictures`` beside it.

    images: by the runs' names. plan: what to draw under the tracks. facts: lines for the head of the page (model, map,
    machine). progress: called with (runs drawn, runs in all).
    """
    folder = path.parent / f"{path.stem}_pictures"
    overviews = draw_overviews(runs, folder)
    sections = []
    for done, run in enumerate(runs, start=1):
        drawn = draw_scenes(run, (images or {}).get(run.run.name, Images()), plan or Plan(), folder)
        sections.append({"summary": run.summary, "pictures": drawn, "id": run.run.slug})
        if progress:
            progress(done, len(runs))
    summaries = [run.summary for run in runs]
    if len(runs) > 1:
        summaries.append(summarise_all(runs))
    return write_page(
        path,
        "report.html",
        title=title,
        facts=dict(facts or {}),
        tolerance=summaries[-1].tolerance,
        tables=[rows(summaries) for rows in (recall_rows, honesty_rows, speed_rows)],
        overviews=overviews,
        sections=sections,
    )


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Fill a template of this package, pictures inlined, write it to path and return that."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("vpr_ros.evaluation"), autoescape=select_autoescape())
    environment.filters["inline"] = _inline
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    html = environment.get_template(template).render(version=__version__, made=made, **content)
    path.write_text(html, encoding="utf-8")
    return path


def _inline(path: Path) -> str:
    """A picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
