"""Where a robot gets tiles from: a folder, or a web server through a cache. Every file is checked against its hash."""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import http.client
import logging
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from vpr_ros.base.errors import MapError, brief
from vpr_ros.base.files import written_whole
from vpr_ros.maps.constants import TILES
from vpr_ros.maps.tiles import LARGEST_MANIFEST, MANIFEST, TileFile, TileManifest, sha256_of

logger = logging.getLogger(__name__)

_PIECE = 1 << 18  # bytes read at a time
_TRANSFER = (OSError, http.client.HTTPException, ValueError)  # what a transfer may end with; URLError is an OSError


_COMPRESSED = ("gzip", "x-gzip", "deflate", "br", "zstd", "compress")  # what a server may do to a file on its way
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # what a server says that may have it later


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Sends a login on to the same host alone."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> Any:
        """See the base class."""
        there = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if there is not None and login and (there.type, there.host) == (req.type, req.host):
            there.add_unredirected_header("Authorization", login)
        return there


class _NoSuchPartError(ValueError):
    """A server refuses the part of a file that it was asked for, or sends another one."""


class PassingError(MapError):
    """A file cannot be had now, and may be had a moment later."""


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _BUSY
    return isinstance(error, (OSError, http.client.HTTPException)) and not isinstance(error, http.client.InvalidURL)


def _pause_s(fails: int) -> float:
    """Seconds before the next try."""
    return float(min(TILES.pause_s * 2 ** max(fails - 1, 0), TILES.longest_pause_s))


class TileFiles(Protocol):
    """The files of one map in tiles."""

    name: str
    """Folder or address, for messages."""

    def manifest(self, fresh: bool = False) -> TileManifest:
        """The release that is there now. Raises MapError, one sentence, if it cannot be read.

        fresh: only from the place itself, not from a cache.
        """
        ...

    def is_here(self, file: TileFile) -> bool:
        """Whether a file is on this machine, checked or not."""
        ...

    def get(self, file: TileFile) -> Path:
        """The path of a file, after its hash was checked; it may take minutes. Raises MapError, one sentence."""
        ...


def is_address(location: str) -> bool:
    """Whether the place of a map is an http(s) address, and no path."""
    return location.lower().startswith(("http://", "https://"))


def open_tile_files(location: str) -> TileFiles:
    """The tiles at an http(s) address or in a folder."""
    return HttpTiles(location) if is_address(location) else FolderTiles(Path(location))


class FolderTiles:
    """Tiles in a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def manifest(self, fresh: bool = False) -> TileManifest:
        """See TileFiles."""
        try:
            with (self._folder / MANIFEST).open("rb") as file:
                data = file.read(LARGEST_MANIFEST + 1)
        except OSError as error:
            raise MapError(
                f"{self._folder} has no {MANIFEST} that can be read ({error.strerror}): make tiles with `vpr map tile`"
            ) from error
        return TileManifest.from_bytes(data, self.name)

    def is_here(self, file: TileFile) -> bool:
        """See TileFiles."""
        return os.path.isfile(self._folder / file.file)

    def get(self, file: TileFile) -> Path:
        """See TileFiles."""
        path = self._folder / file.file
        if not os.path.isfile(path) and os.access(self._folder, os.X_OK):
            raise MapError(f"{path} is missing: copy it there again, or run `vpr map tile` again")
        if not _is_intact(path, file):
            raise MapError(f"{path} is damaged: copy it there again, or run `vpr map tile` again")
        return path


class HttpTiles:
    """Tiles on a web server, cached for this user.

    A cached file is named by its hash, so that mirrors and releases share it and none is taken for another. A transfer
    that breaks goes on where it ended, in a later process too.
    """

    def __init__(self, address: str, cache: Path | None = None) -> None:
        """address: may have a user name and a password, and a query. cache: folder; by default ``cache_folder``."""
        before_query = address.partition("?")[0]
        is_cut = "/" not in before_query.partition("//")[2]  # within the login, by a ? in the password
        shown = "the tiles" if is_cut else before_query.rpartition("@")[2]
        try:
            parts = urllib.parse.urlsplit(address)
        except ValueError as error:
            raise MapError(f"the address {shown} cannot be had ({type(error).__name__}): is it right?") from error
        user, at, host = parts.netloc.rpartition("@")
        if not at and ("@" in before_query or ("@" in address and not parts.path)):  # a ? in the password
            raise MapError(
                f"the address of {shown} cannot be read: write the special characters of a password in percent code, "
                "such as %2F for /"
            )
        user += "" if ":" in user else ":"
        folder = parts.path.rstrip("/").removesuffix(f"/{MANIFEST}")
        folder = urllib.parse.quote(folder, safe="/%:@!$&'()*+,;=~")  # as browsers do
        self._address = urllib.parse.urlunsplit((parts.scheme, host, f"{folder}/", "", ""))
        query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        self._query = f"?{query}" if query else ""  # such as a token
        login = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        self._login = {"Authorization": f"Basic {login}"} if at else {}
        self.name = self._address.rstrip("/")  # for messages, without secrets
        self._cache = cache or cache_folder()
        known_as = hashlib.sha256((self._address + self._query).encode()).hexdigest()[:32]
        self._manifest_path = self._cache / "manifests" / f"{known_as}.json"
        self._checked: set[str] = set()

    def manifest(self, fresh: bool = False) -> TileManifest:
        """See TileFiles. If no other release can be had whole, the one that was used last is used again."""
        try:
            data, found = self._newest()
            if fresh:
                return found
            for file in (found.whole, found.index):  # without them it cannot be used, and the last one can
                self.get(file)
        except MapError as error:
            if fresh or not os.path.isfile(self._manifest_path):
                raise
            logger.warning("%s; the tiles that are here are used", error)
            try:
                return TileManifest.from_bytes(self._manifest_path.read_bytes(), str(self._manifest_path))
            except (MapError, OSError):  # of no use: the next start asks the server alone
                self._manifest_path.unlink(missing_ok=True)
                raise error from None
        self._keep(data, found)
        return found

    def _newest(self) -> tuple[bytes, TileManifest]:
        """The manifest that the server has. Raises MapError."""
        fails = 0
        while True:
            try:
                data = self._read(MANIFEST, LARGEST_MANIFEST + 1)
                return data, TileManifest.from_bytes(data, self.name)
            except _TRANSFER as error:
                fails += 1
                known = os.path.isfile(self._manifest_path)  # then a robot starts with that one, at once
                if known or fails >= TILES.attempts or not _may_pass(error):
                    raise self._down(MANIFEST, error) from error
                time.sleep(_pause_s(fails))

    def _read(self, name: str, most: int) -> bytes:
        """A small file. Raises one of _TRANSFER."""
        with self._request(name) as answer:
            data = answer.read(most)
            length = answer.headers.get("Content-Length")
        if length is not None and len(data) < min(int(length), most):
            raise OSError(f"{len(data)} of {length} bytes came")
        return data

    def is_here(self, file: TileFile) -> bool:
        """See TileFiles."""
        return os.path.isfile(self._path(file))

    def get(self, file: TileFile) -> Path:
        """See TileFiles."""
        path = self._path(file)
        if file.sha256 in self._checked and os.path.isfile(path):
            return path
        if os.path.isfile(path) and not _is_intact(path, file):
            logger.warning("%s is damaged, and is fetched again", path)
            self._check_cache(path.parent)
            path.unlink(missing_ok=True)
        if not os.path.isfile(path):
            self._check_cache(path.parent)
            try:
                self._fetch(file, path)
            except _TRANSFER as error:
                raise self._down(file.file, error) from error
        self._checked.add(file.sha256)
        return path

    def _check_cache(self, folder: Path) -> None:
        """Raises MapError if the cache cannot be written: the server would be blamed for it."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> MapError:
        return MapError(f"the cache {self._cache} cannot be written ({error.strerror}): set XDG_CACHE_HOME")

    def _keep(self, data: bytes, found: TileManifest) -> None:
        """Cache the manifest, and say if it is another one than last time."""
        with suppress(OSError, MapError):
            before = TileManifest.from_bytes(self._manifest_path.read_bytes(), str(self._manifest_path))
            if before.release != found.release:
                new = len({file.sha256 for file in found.files} - {file.sha256 for file in before.files})
                logger.warning(
                    "%s has release %s now, %s before: %d of its %d files are new",
                    self.name, found.release, before.release, new, len(found.files),
                )  # fmt: skip
        try:
            with written_whole(self._manifest_path) as part:
                part.write_bytes(data)
        except OSError as error:
            raise self._unwritable(error) from error

    def _path(self, file: TileFile) -> Path:
        return self._cache / "files" / file.sha256

    def _fetch(self, file: TileFile, path: Path) -> None:
        """Fetch a file whole, on from what an earlier transfer left. Raises MapError or one of _TRANSFER."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with _alone(part) as out:
            if path.is_file():  # another process was faster
                return
            if out.seek(0, os.SEEK_END) > file.bytes:
                out.truncate(0)
            self._check_space(file, file.bytes - out.seek(0, os.SEEK_END))
            fails, again, most = 0, False, out.seek(0, os.SEEK_END)
            while out.seek(0, os.SEEK_END) < file.bytes:
                try:
                    self._append(file, out)
                except _TRANSFER as error:
                    if isinstance(error, _NoSuchPartError) and not again:  # the server may have the whole
                        again = True
                        out.truncate(0)
                        continue
                    size = out.seek(0, os.SEEK_END)
                    fails = 0 if size > most else fails + 1  # without Range, a try may bring less than the last one
                    most = max(most, size)
                    if fails >= TILES.attempts or not _may_pass(error):
                        raise
                    time.sleep(_pause_s(fails))
            out.flush()
            if not _is_intact(part, file):
                part.unlink()
                raise MapError(
                    f"{self._address}{file.file} is not the file that the manifest names: it is damaged, or a "
                    "new release is being copied there; try again later"
                )
            part.replace(path)

    def _check_space(self, file: TileFile, missing: int) -> None:
        """Raises MapError if the disk cannot take what is missing of a file: a manifest may claim anything."""
        free = shutil.disk_usage(self._cache).free
        if missing > free:
            raise MapError(
                f"{self._address}{file.file} takes {missing / 1e6:.1f} MB more, and {self._cache} has "
                f"{free / 1e6:.1f} MB left: make room, or set XDG_CACHE_HOME"
            )

    def _append(self, file: TileFile, out: BinaryIO) -> None:
        """Read a file from where ``out`` ends. Raises one of _TRANSFER if the server ends early."""
        start = out.tell()
        with self._request(file.file, start) as answer:
            if start and not _begins_at(start, answer):  # it sends all of it again
                out.truncate(0)
                start = out.seek(0)
            left = file.bytes - start
            while left > 0 and (piece := answer.read(min(_PIECE, left))):
                out.write(piece)
                left -= len(piece)
        if left:
            raise OSError(f"{file.bytes - left} of {file.bytes} bytes came")

    def _request(self, name: str, start: int = 0) -> http.client.HTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "vpr_ros"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(self._address + name + self._query, headers=headers)
        for header in self._login.items():
            request.add_unredirected_header(*header)
        opener = urllib.request.build_opener(_Redirects)
        try:
            answer: http.client.HTTPResponse = opener.open(request, timeout=TILES.timeout_s)
        except urllib.error.HTTPError as error:
            if not start or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            error.close()
            raise _NoSuchPartError(str(error)) from error
        coding = answer.headers.get("Content-Encoding", "")
        if coding.strip().lower() in _COMPRESSED:
            answer.close()
            raise ValueError(f"the server compresses it ({coding}): turn that off for these files")
        return answer

    def _down(self, name: str, error: BaseException) -> MapError:
        """The sentence for a file that did not come."""
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        kind = PassingError if _may_pass(error) else MapError
        return kind(f"{self._address}{name} cannot be had ({brief(error)}): is the server up, and the address right?")


def cache_folder() -> Path:
    """Where tiles from web servers are kept for this user: ``$XDG_CACHE_HOME/vpr_ros/tiles``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vpr_ros" / "tiles"


def _begins_at(start: int, answer: http.client.HTTPResponse) -> bool:
    """Whether an answer is the part of a file from a byte on. Raises _NoSuchPartError if it is another part."""
    if answer.status != http.client.PARTIAL_CONTENT:
        return False
    part = answer.headers.get("Content-Range", f"bytes {start}-")
    if not part.lower().replace("=", " ").startswith(f"bytes {start}-"):
        raise _NoSuchPartError(f"the server sends another part ({part}) than from byte {start} on")
    return True


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """A file to add to, while other processes that want to do so wait."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _is_intact(path: Path, file: TileFile) -> bool:
    """Raises MapError if the file cannot be read, such as another user's."""
    try:
        return path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
    except OSError as error:
        raise MapError(f"{path} cannot be read ({error.strerror}): check its disk, and who may read it") from error
