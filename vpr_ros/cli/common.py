"""Shared parts of the commands: options, opening drives, progress bars."""

import fcntl
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from vpr_ros.base.errors import ConfigError, VprError

if TYPE_CHECKING:
    from vpr_ros.base.tally import Tally
    from vpr_ros.drives.drive import Drive
    from vpr_ros.localize.config import LocalizerConfig


_LINE_S = 60.0  # between lines of progress in a log


def at_least(least: float, most: float = math.inf) -> Callable[[typer.CallbackParam, float], float]:
    """Callback for an option in metres or seconds, which also refuses nan and inf (typer's ``min`` does not)."""

    def check(option: typer.CallbackParam, value: float) -> float:
        if not least <= value < math.inf:
            raise ConfigError(f"{option.opts[0]} must be a finite number of at least {least:g}, not {value:g}")
        if value > most:
            raise ConfigError(f"{option.opts[0]} must be at most {most:g}, not {value:g}")
        return value

    return check


Model = Annotated[str, typer.Option(help="Model: a file, or the name of a shipped one.")]
MapModel = Annotated[str, typer.Option("--model", help="Model file, if the map's own is not found by name.")]
Backend = Annotated[str, typer.Option(help="Backend of the model: auto, onnx, tensorrt, torch or a registered one.")]
DriveOption = Annotated[
    list[str],
    typer.Option("--drive-option", "-d", help="Drive option, KEY=VALUE, such as camera=stereo/left; repeatable."),
]
Numbered = Annotated[
    bool, typer.Option("--numbered", help="Without poses: the number in an image's name is its position in metres.")
]
Config = Annotated[
    Optional[Path],
    typer.Option(help="YAML file of localiser parameters; a node's parameter file works too."),
]
Set = Annotated[
    list[str], typer.Option("--set", "-s", help="Localiser parameter, KEY=VALUE, overrides --config; repeatable.")
]


def pairs(values: list[str], where: str = "--set") -> dict[str, Any]:
    """KEY=VALUE strings -> keys with values read as YAML. Raises ConfigError, starting with where, for another form."""
    from vpr_ros.base.config import read_pairs

    return read_pairs(values, where)


def localizer_config(path: Path | None, overrides: list[str]) -> "LocalizerConfig":
    """The localiser's configuration: the flags win over the file, the file over the defaults."""
    from vpr_ros.base.config import from_dict, merged, nested
    from vpr_ros.localize.config import LocalizerConfig
    from vpr_ros.ros.params import NodeParams, read_params_file

    changes = nested(pairs(overrides))
    config = from_dict(LocalizerConfig, changes, "--set")
    if path is None:
        return config
    return from_dict(NodeParams, merged(read_params_file(path), changes), str(path)).localizer


def alone_if_shuffled(
    config: "LocalizerConfig", path: Path | None, overrides: list[str], drives: "Sequence[Drive]"
) -> "LocalizerConfig":
    """The configuration without the filter over time, with a note, where images are in no order of a trip.

    path, overrides: what the configuration was made of; a filter that they name stays. Raises ConfigError where only
    some of the drives are trips.
    """
    from dataclasses import replace

    from vpr_ros.base.config import merged, nested
    from vpr_ros.drives.drive import is_trip_of
    from vpr_ros.ros.params import read_params_file

    shuffled = [drive.name for drive in drives if not is_trip_of(drive)]
    if not shuffled or not config.filter.enabled:
        return config
    given = merged({} if path is None else read_params_file(path), nested(pairs(overrides)))
    if "enabled" in given.get("filter", {}):
        return config
    names = ", ".join(shuffled)
    if len(shuffled) < len(drives):
        raise ConfigError(
            f"the images of {names} are in no order of a trip and those of the others are: give them in a call of "
            "their own, or --set filter.enabled=true"
        )
    typer.echo(
        f"note: the images of {names} are not in the order of a trip, so each is answered alone, without the filter "
        "over time (--set filter.enabled=true keeps it)",
        err=True,
    )
    return replace(config, filter=replace(config.filter, enabled=False))


def open_drives(specs: list[str], options: list[str], numbered: bool = False) -> "list[Drive]":
    """Open drives of any format, all before the work starts. options: KEY=VALUE strings."""
    from vpr_ros.base.config import split_pairs
    from vpr_ros.drives import open as opening
    from vpr_ros.drives.views import NumberedDrive

    drives = opening.open_drives(specs, split_pairs(options, opening.OPTION))
    return [NumberedDrive(drive) for drive in drives] if numbered else drives


@contextmanager
def reported_tally() -> "Iterator[Tally]":
    """A tally of what a job leaves out, printed when the job ends or fails."""
    from vpr_ros.base.tally import Tally

    tally = Tally()
    try:
        yield tally
    finally:
        for line in tally.lines():
            typer.echo(line, err=True)


@contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Make a folder for a job's results before the work. If the job fails and leaves it empty, remove it."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise VprError(f"{path} cannot be a folder for the results: a file is in the way; choose another") from error
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # a folder with files stays
                folder.rmdir()
        raise


@contextmanager
def sole_output_folder(path: Path) -> Iterator[None]:
    """An ``output_folder`` for a job that deletes what is in it. Raises VprError if another one runs there."""
    with output_folder(path):
        lock = path / ".lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise VprError(f"another process writes to {path}: wait for its end, or give another -o") from error
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with a total, or a line a minute where there is no terminal; call it with (done, total)."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    if not console.is_terminal:
        with _progress_lines(label) as told:
            yield told
        return
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(escape(label), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _progress_lines(label: str) -> Iterator[Callable[[int, int], None]]:
    """Progress for a log: a line a minute, and one at the end."""
    started = told = time.monotonic()
    last = before = 0

    def tell(done: int, total: int) -> None:
        nonlocal started, told, last, before
        now = time.monotonic()
        if done < last:  # the next drive
            started, before = now, before + last
        last = done
        if now - told >= _LINE_S and 0 < done < total:
            told = now
            left = timedelta(seconds=round((now - started) * (total - done) / done))
            typer.echo(f"{label}: {done} of {total}, {left} left", err=True)

    yield tell
    typer.echo(f"{label}: done" + (f", {before + last}" if last else ""), err=True)


def counted(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """A callback for work that reports steps, from one that takes (done, total)."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return step
