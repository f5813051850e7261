"""The report is what people see first: complete, true to the run, and readable without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import cv2
import numpy as np
import pytest

from vpr_ros.evaluation.charts import CHARTS
from vpr_ros.evaluation.record import Run, Tolerance
from vpr_ros.evaluation.report import write_report
from vpr_ros.evaluation.report_data import report_data
from vpr_ros.evaluation.scenes import Images, Plan, choose_frames, decode
from vpr_ros.evaluation.summary import Assessment, assess, calibration_rows, recall_rows, speed_rows

Make = Callable[..., Any]
PLAN = Plan([np.array([[0.0, -5], [100, -5], [100, 5]])], ["#dddddd"])


def jpeg_of(number: int, width: int = 80) -> bytes:
    image = np.full((width * 3 // 4, width, 3), (number * 40) % 255, np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


IMAGES = Images(query=lambda i: jpeg_of(i, 320), place=jpeg_of, depth=lambda i: np.full((56, 56), 5.0 + i, np.float32))


class Elements(HTMLParser):
    """Every element of a page, its addresses, and the text of scripts, by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.scripts: dict[str, str] = {}
        self._tag, self._id = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "poster")
        ]
        self._tag, self._id = tag, named.get("id") or f"{tag} {self.getpos()}"

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag in ("h1", "h2", "h3"):
            self.headings.append(data.strip())
        if self._tag in ("script", "style"):
            self.scripts[self._id] = self.scripts.get(self._id, "") + data


@pytest.fixture
def runs(street: Run, make_run: Make, answer: Make, hypothesis: Make) -> list[Assessment]:
    """The street, and eight right answers under a name that HTML must not take for a tag."""
    snow = make_run([answer(i, 10 * i, [10 * i], [hypothesis(10 * i + 3, 0.9)]) for i in range(8)], condition="<snow>")
    return [assess(street), assess(snow)]


@pytest.fixture
def report(runs: list[Assessment], tmp_path: Path) -> Path:
    images = {runs[0].run.name: IMAGES}
    return write_report(tmp_path / "report.html", runs, images, PLAN, facts={"model": "tiny"})


def test_the_page_has_every_part(report: Path, runs: list[Assessment]) -> None:
    """Four figures, the frame browser, the charts, then tables with the summary's cells; pictures as PNG next to it."""
    html = report.read_text(encoding="utf-8")
    headings = Elements(html).headings
    wanted = ["Right, one image alone", "Right, filtered over time", "Off-map detection", "Calibration error"]
    wanted += ["Frame by frame", "Track from above", "Five best places for this image", "Probability over time"]
    wanted += [*(chart.title for chart in CHARTS), "Recall (%)", "Calibration and off-map detection (%)", "Speed"]
    assert [heading for heading in headings if heading in wanted] == wanted
    assert "Calibration" in headings and "Honesty" not in html
    for rows in (recall_rows, calibration_rows, speed_rows):
        assert all(f"<td>{cell}</td>" in html for cell in rows([runs[0].summary])[1][0])
    assert "&lt;snow&gt;" in html and "<snow>" not in html
    names = {path.name for path in (report.parent / "report_pictures").iterdir()}
    assert names == {"street_sun_map.png", "street_sun_queries.png", "street_snow_map.png"}


def test_the_page_asks_for_nothing(report: Path) -> None:
    """It opens on a robot without a network, and the browser itself forbids every request (Plotly's own script names
    servers of maps, which no chart here uses)."""
    html = report.read_text(encoding="utf-8")
    elements = Elements(html)
    assert all(address.startswith("data:") for address in elements.addresses)
    assert "default-src 'none'" in html
    for name, text in elements.scripts.items():
        if name != "plotly":
            assert not re.search(r"https?:|//[a-z]+\.|\bfetch\b|XMLHttpRequest|\bimport\b|@import|url\(", text), name
    assert not re.search(r"https?:", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))


def test_the_data_are_those_of_the_run(report: Path, runs: list[Assessment]) -> None:
    """What one clicks through is what results.json was counted from: every frame, its answer and its verdict."""
    data = json.loads(Elements(report.read_text(encoding="utf-8")).scripts["data"])
    assert [run["condition"] for run in data["runs"]] == ["sun", "<snow>"]
    for shown, run in zip(data["runs"], runs, strict=True):
        assert [frame["number"] for frame in shown["frames"]] == [a.frame_index for a in run.run.answers]
        answered = [frame for frame in shown["frames"] if frame["answer"] != "none"]
        assert len(shown["frames"]) - len(answered) == run.summary.dropped
        given = [
            frame["probability"] if frame["answer"] == "pose" else frame["off_map_probability"] for frame in answered
        ]
        np.testing.assert_allclose(given, run.scores.confidence, atol=1e-4)
        assert [f["verdict"] == "right" for f in answered] == run.scores.correct.tolist()
        assert [f["off_map"] for f in answered] == run.scores.off_map.tolist()
        assert len(shown["map"]) == len(run.run.T_map_places)
        assert shown["notes"] == []
    street = data["runs"][0]["frames"]
    assert street[5] | {"answer": "none", "problem": "dropped", "truth": [60.0, 0.0]} == street[5]
    assert [frame["answer"] for frame in street] == ["pose", "pose", "pose", "off the map", "pose", "none"]
    assert (street[0]["pose"], street[0]["error"], street[2]["error"]) == ([52.0, 0.0], 2.0, 40.0)
    first = street[1]["places"]
    assert [(p["id"], p["similarity"], p["distance"], p["right"]) for p in first] == [
        (1, 0.9, 40.0, False),
        (2, 0.8, 10.0, True),
    ]
    assert all(frame["image"] is not None and frame["depth"] is not None for frame in street[:5])
    assert all(place["image"] is not None for frame in street for place in frame["places"])
    assert all(frame["image"] is None for frame in data["runs"][1]["frames"])
    assert set(data["charts"]) == {chart.name for chart in CHARTS}


def test_charts_are_figures_plotly_accepts(runs: list[Assessment]) -> None:
    """A misspelt property would be ignored in the browser without a word; Plotly's own schema refuses it."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for chart in CHARTS:
        figure = graph_objects.Figure(chart.draw(runs))
        assert len(figure.data) >= 4, chart.name
    recall = graph_objects.Figure(CHARTS[0].draw(runs)).data
    assert (recall[0].name, recall[0].y[0]) == ("sun, filtered", 66.67)
    assert (recall[1].name, recall[1].y[0]) == ("sun, single image", 33.33)


def test_a_large_report_keeps_the_wrong_answers(make_run: Make, answer: Make, hypothesis: Make) -> None:
    """Two hundred frames and room for forty images: all wrong ones, the others evenly, and the page says so."""
    wrong = {7, 50, 151}
    answers = [answer(i, 50, [50], [hypothesis(90 if i in wrong else 50, 0.9)]) for i in range(200)]
    images = Images(query=lambda i: i.to_bytes(1, "little") * 1000, place=lambda place_id: b"p" * 100)
    run = make_run(answers)
    data = report_data([assess(run)], {run.name: images}, Plan(), image_bytes=40_100)
    (shown,) = data["runs"]
    kept = [i for i, frame in enumerate(shown["frames"]) if frame["image"] is not None]
    assert wrong <= set(kept) and len(kept) == 40
    assert max(np.diff(kept)) <= 10
    assert len(shown["frames"]) == 200 and shown["frames"][1]["probability"] == 0.9
    assert "images of 40 of 200 frames" in shown["notes"][0]
    assert len(data["images"]) == 41  # a place's image is there once


def test_runs_share_the_room_for_images(make_run: Make, answer: Make, hypothesis: Make) -> None:
    runs = [
        make_run([answer(i, 50, [], [hypothesis(50, 0.9)]) for i in range(30)], condition=name) for name in ("a", "b")
    ]
    images = {run.name: Images(query=lambda i, n=n: bytes([n, i]) * 500) for n, run in enumerate(runs)}
    data = report_data([assess(run) for run in runs], images, Plan(), image_bytes=20_000)
    assert [sum(frame["image"] is not None for frame in run["frames"]) for run in data["runs"]] == [10, 10]


def test_a_large_map_is_thinned_and_says_so(make_run: Make, answer: Make) -> None:
    run = make_run([answer(0, 50)])
    object.__setattr__(run, "T_map_places", np.tile(np.eye(4), (9000, 1, 1)))
    (shown,) = report_data([assess(run)], {}, Plan())["runs"]
    assert len(shown["map"]) == 3000 and "3000 of the map's 9000 places" in shown["notes"][0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", ["no truth", "frames", "only drops", "no places"])
def test_a_report_of_poor_runs(case: str, make_run: Make, tmp_path: Path, answer: Make, hypothesis: Make) -> None:
    """A bag without truth, a numbered drive, a dead camera: no crash, no warning, and the page runs."""
    runs = {
        "no truth": make_run([answer(i, None, [50], [hypothesis(50, 0.9)]) for i in range(3)]),
        "frames": make_run([answer(i, i, [i], [hypothesis(i, 0.9)]) for i in range(3)], Tolerance(frames=3)),
        "only drops": make_run([answer(0, 50, answered=False)]),
        "no places": make_run([answer(0, 50, [], [], 1.0)]),
    }
    path = write_report(tmp_path / "report.html", [assess(runs[case])])
    assert path.stat().st_size > 10_000
    if program := browser.chromium():
        with browser.Page(program) as page:
            page.open(path, READY)
            assert page.errors == []
            assert page.value("byId('track-card').hidden") == (case == "frames")


READY = "document.readyState === 'complete' && document.getElementById('frame-number').textContent"


@pytest.fixture
def page(report: Path) -> Iterator[browser.Page]:
    program = browser.chromium()
    if program is None:
        pytest.skip(browser.MISSING)
    with browser.Page(program) as page:
        page.open(report, READY)
        yield page


def shown(page: browser.Page) -> str:
    return str(page.value("byId('frame-number').textContent"))


def spot(page: browser.Page, chart: str, x: float, y: float) -> tuple[float, float]:
    """Pixels of the window where a chart shows these data coordinates; the chart is scrolled into view."""
    page.value(f"byId('{chart}').scrollIntoView({{block: 'center'}})")
    return tuple(
        page.value(
            f"""(() => {{
                const chart = byId("{chart}"), box = chart.getBoundingClientRect(), layout = chart._fullLayout;
                return [box.left + layout.xaxis._offset + layout.xaxis.d2p({x}),
                        box.top + layout.yaxis._offset + layout.yaxis.d2p({y})];
            }})()"""
        )
    )


def test_one_steps_through_the_frames(page: browser.Page) -> None:
    """Buttons and arrow keys change image, answer, places and cursor; at the ends nothing happens."""
    assert shown(page) == "Frame 1 of 6"
    image = "byId('frame-images').querySelector('img').src"
    before = page.value(image)
    page.value("byId('next').click()")
    assert shown(page) == "Frame 2 of 6" and page.value(image) != before
    assert page.value("byId('frame-answer').textContent") == "On the map, 60 %, 6.0 m from the truth and 0.0°"
    assert page.value("[...document.querySelectorAll('.place')].map((one) => one.className)") == [
        "place wrong",
        "place right",
    ]
    places = page.value("[...document.querySelectorAll('.place figcaption')].map((one) => one.innerText)")
    assert "similarity 0.80" in places[1] and "10.0 m away" in places[1]
    assert page.value("byId('timeline').layout.shapes.at(-1).x0") == 1
    page.key("ArrowRight")
    assert shown(page) == "Frame 3 of 6" and page.value("byId('frame-verdict').textContent") == "wrong"
    for name, frame in (("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", 1)):
        page.key(name)
        assert shown(page) == f"Frame {frame} of 6"
    page.key("ArrowRight", shift=True)
    assert shown(page) == "Frame 3 of 6"
    page.value("byId('next-wrong').click()")
    assert shown(page) == "Frame 5 of 6"
    page.key("ArrowRight")
    assert "No answer: dropped" in page.value("byId('frame-answer').textContent")


def test_one_clicks_a_frame(page: browser.Page) -> None:
    """On the track, where frame 3 was put at x = 90, and anywhere over time; the other drive has frames of its own."""
    page.click(*spot(page, "track", 56, 0))
    page.wait_for("byId('frame-number').textContent === 'Frame 2 of 6'")
    page.click(*spot(page, "timeline", 3.1, 40))
    page.wait_for("byId('frame-number').textContent === 'Frame 4 of 6'")
    assert "Not on this map, 80 %" in page.value("byId('frame-answer').textContent")
    page.value("document.querySelectorAll('[data-run]')[1].click()")
    assert shown(page) == "Frame 1 of 8"
    page.click(*spot(page, "track", 73, 0))
    page.wait_for("byId('frame-number').textContent === 'Frame 8 of 8'")


def test_the_browser_has_nothing_to_complain_of(page: browser.Page, report: Path) -> None:
    """No error on the console and no request but for the file, by day and in the dark; every chart is drawn."""
    for chart in ["track", "timeline", *(f"chart-{chart.name}" for chart in CHARTS)]:
        assert page.value(f"byId('{chart}').querySelectorAll('.trace').length") > 0, chart
    page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.value("document.querySelectorAll('[data-run]')[1].click()")
    assert page.errors == []
    assert [address for address in page.requests if not address.startswith("data:")] == [report.resolve().as_uri()]


def test_pictures_show_a_miss_and_an_off_map_frame(street: Run, make_run: Make, answer: Make, hypothesis: Make) -> None:
    """Nobody should be shown the successes alone."""
    assert choose_frames(assess(street), 3) == [1, 2, 4]
    many = [answer(i, 50, [50], [hypothesis(50, 0.9)]) for i in range(20)]
    assert choose_frames(assess(make_run(many)), 4) == [2, 7, 12, 17]


def test_a_broken_thumbnail_is_an_empty_tile() -> None:
    assert decode(b"not a jpeg") is None
    assert decode(None) is None
