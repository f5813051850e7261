"""The time of each image and whether it comes in order: one rule for the node, ``vpr replay`` and ``vpr map build``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

LATE_NS = 1_000_000_000  # stamped less than this before the last image: overtaken on the way. More: another clock.
_TWICE_NS = 5_000_000  # a stamp that comes again this soon is the same message again
_REPEATS = 3  # of one stamp, after which the clock stands: a driver may send its last image once more
_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * 1_000_000_000

NO_STAMP = "without a stamp"
STANDING = "with a stamp that does not advance"
LATE = "late (overtaken by a newer one)"
DUPLICATE = "duplicate (an image of that stamp came before)"


@dataclass(frozen=True)
class Ordered:
    """What became of one image.

    stamp_ns: the time to use. taken: whether the image is to be used; if not, problem says why (LATE or DUPLICATE).
    problem: "" if the header's stamp was used; NO_STAMP or STANDING if the arrival time was used instead.
    back_ns: how far the clock jumped back just before this image, 0 if it did not; what came before is to be forgotten.
    """

    stamp_ns: int
    taken: bool = True
    problem: str = ""
    back_ns: int = 0


class ImageOrder:
    """Gives each image a time that advances, from its header's stamp and the time at which it arrived.

    A stamp of zero (or below) is none: the arrival time is used. A stamp that repeats the one before is a message that
    was sent twice, and left out; one of whole seconds may be of a clock that knows no more, and is advanced by the time
    since its first arrival. A stamp that has stood for LATE_NS (and _REPEATS images, if it is not of whole seconds) is
    replaced by the arrival time. An image older than the last one by less than LATE_NS is late and left out; by more,
    the clock jumped back, and order starts anew.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None  # of the last image that was taken
        self._header_ns = 0
        self._arrival_ns = 0
        self._standing_since_ns = 0  # arrival of the first image with the last header's stamp
        self._repeats = 0  # images with it since

    def place(self, header_ns: int, arrival_ns: int) -> Ordered:
        """Order one image. header_ns: stamp of its header; arrival_ns: log time in a bag, ROS time in a node."""
        if header_ns == self._header_ns:
            self._repeats += 1
        else:
            self._header_ns, self._standing_since_ns, self._repeats = header_ns, arrival_ns, 0
        stamp_ns, problem = self._time(header_ns, arrival_ns)
        again = problem == STANDING and arrival_ns - self._arrival_ns < _TWICE_NS
        last_ns = self._stamp_ns
        if last_ns is not None and (again or last_ns - LATE_NS < stamp_ns <= last_ns):
            return Ordered(stamp_ns, False, DUPLICATE if again or stamp_ns == last_ns else LATE)
        self._stamp_ns, self._arrival_ns = stamp_ns, arrival_ns
        back_ns = 0 if last_ns is None else max(0, last_ns - stamp_ns)
        return Ordered(stamp_ns, True, problem, back_ns)

    def _time(self, header_ns: int, arrival_ns: int) -> tuple[int, str]:
        """The time of an image and, if it is not the header's stamp, why."""
        if header_ns <= 0:
            return arrival_ns, NO_STAMP
        standing_ns, whole = max(0, arrival_ns - self._standing_since_ns), header_ns % _SECOND_NS == 0
        if self._repeats >= (1 if whole else _REPEATS) and standing_ns >= LATE_NS:
            return arrival_ns, STANDING
        if self._repeats and whole:
            return header_ns + standing_ns, STANDING
        return header_ns, ""


def clock_problem(stamp_ns: int, clock_ns: int) -> str:
    """One sentence if a stamp is days or years away from the clock, both in nanoseconds since 1970; else ""."""
    away_ns = stamp_ns - clock_ns
    if abs(away_ns) < _DAY_NS:
        return ""
    days = abs(away_ns) / _DAY_NS
    far = f"{days / 365.25:.1f} years" if days >= 365.25 else f"{days:.0f} days"
    return (
        f"images are stamped {far} {'after' if away_ns > 0 else 'before'} the clock ({time_text(stamp_ns)}, the clock "
        f"says {time_text(clock_ns)}): set the camera driver to stamp with system time, or set use_sim_time for a bag"
    )


def time_text(stamp_ns: int) -> str:
    """A stamp as people read it: UTC with milliseconds, or seconds if it is no time since 2000."""
    seconds = stamp_ns / 1e9
    if not 946_684_800 <= seconds < 4_102_444_800:  # the years 2000 to 2100
        return f"{seconds:.3f} s"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
