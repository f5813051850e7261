"""A town of four kilometres that is cut into tiles, and a web server that can be killed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.base.image import Preprocessing
from vpr_ros.base.records import Estimate
from vpr_ros.localize.localizer import Localizer
from vpr_ros.maps.calibration import Calibration
from vpr_ros.maps.centring import map_mean
from vpr_ros.maps.place_map import MapModel, PlaceMap
from vpr_ros.maps.storage import BUILT
from vpr_ros.maps.tiled_map import TiledMap, index_of

MODEL = MapModel("toy", "f" * 64, 64, Preprocessing(8, 8))
SHIPPED = Calibration(z_weight=0.5, similarity_weight=30.0, threshold=7.75, temperature=1.0, independence=1.5)
ORIGIN = np.array([446_300.0, 5_411_700.0, 0.0])
CELL_M = 250.0
SECOND = 10**9


def build_town(path: Path, world: Any, every: float = 5.0, **more: Any) -> PlaceMap:
    """A map of a toy world, in UTM coordinates."""
    made = PlaceMap.create(path, MODEL, "utm 33 north", ORIGIN, SHIPPED, storage=BUILT)
    with made.together():
        for along in np.arange(0.0, world.length, every):
            made.add("monday", int(along * 1e8), world.pose(along), world.descriptor(along), b"a picture", **more)
    return made


def localizer_on(place_map: PlaceMap) -> Localizer:
    """As ``Localizer.open``, for a model that does not exist."""
    mean = map_mean(place_map.places)
    index = index_of(place_map, "auto", mean)
    describer: Any = None
    return Localizer(place_map.places, describer, None, place_map.calibration, index, place_map=place_map)


def answer(estimate: Estimate) -> bytes:
    """All numbers of an answer, byte for byte."""
    found = [np.float64(estimate.off_map_probability), np.float64(estimate.view_kept)]
    for match in estimate.matches:
        found += [np.int64(match.place_id), np.float64(match.similarity), np.float64(match.probability)]
    for hypothesis in estimate.hypotheses:
        found += [hypothesis.T_map_camera, hypothesis.covariance, np.float64(hypothesis.probability)]
        found += [np.array(hypothesis.place_ids)]
    return b"".join(np.asarray(value).tobytes() for value in found)


def settled(place_map: TiledMap, seconds: float = 20.0) -> TiledMap:
    """The map, once its thread has nothing left to do."""
    for _ in range(int(seconds * 200)):
        if place_map.keeper.idle:
            return place_map
        threading.Event().wait(0.005)
    raise AssertionError(f"the tiles are not loaded after {seconds} s: {place_map.status()}, {place_map.problem}")


class Handler(SimpleHTTPRequestHandler):
    """A file server that understands Range, as nginx and object stores do. It can be told to break off."""

    most = 2**40  # bytes of a file that are sent before the connection breaks
    understands_range = True
    refuses_range = False  # 416 for any part
    coding = ""  # Content-Encoding
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        """Send a file, from an offset if there is a Range."""
        self.asked.append((self.path, self.headers.get("Range", "")))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        if self.refuses_range and self.headers.get("Range"):
            self.send_error(416)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if self.understands_range else None
        start = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        if self.coding:
            self.send_header("Content-Encoding", self.coding)
        self.end_headers()
        self.wfile.write(data[start : start + self.most])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """No log."""


@contextmanager
def served(folder: Path, port: int = 0, **settings: Any) -> Iterator[tuple[str, type[Handler]]]:
    """The address of a folder on a real web server, and its handler, whose settings can be changed."""
    handler = type("OfThisServer", (Handler,), {"asked": [], **settings})
    server = ThreadingHTTPServer(("127.0.0.1", port), lambda *args: handler(*args, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
