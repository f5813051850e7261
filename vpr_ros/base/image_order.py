"""The time and order of images: one rule for the node, ``vpr replay`` and ``vpr map build``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

LATE_NS = 1_000_000_000  # an image older than the last by less is late; with two that are older, the clock jumped back
_TWICE_NS = 5_000_000  # a stamp repeated this soon is the same message, sent twice
_REPEATS = 3  # of one stamp before the clock counts as stopped: a driver may repeat its last image
_SECOND_NS = 1_000_000_000
_AHEAD_NS = 5_000_000_000  # of the clock: two machines' clocks differ a little, and a bag's goes in steps
_OLDEST_NS = 10_000_000_000  # age of an image as it comes

NO_STAMP = "without a stamp"
STANDING = "with a stamp that does not advance"
LATE = "late (overtaken by a newer one)"
DUPLICATE = "duplicate (an image of that stamp came before)"


@dataclass(frozen=True)
class Ordered:
    """The decision on one image."""

    stamp_ns: int
    """The time to use."""
    taken: bool = True
    """Whether the image is used. If not, problem is LATE or DUPLICATE."""
    problem: str = ""
    """NO_STAMP or STANDING if the arrival time replaces the header's stamp; "" if the stamp is used."""
    back_ns: int = 0
    """How far the clock jumped back just before this image, or 0. State from before a jump must be dropped."""


class JumpBack:
    """Tells a clock that jumped back from one message that was late for long: a second one follows the first."""

    def __init__(self) -> None:
        self._far_back_ns: int | None = None  # stamp of the message before this one, if it was older by LATE_NS

    def at(self, stamp_ns: int, last_ns: int) -> bool:
        """Whether the clock has jumped back. last_ns: the newest stamp of those taken. Call with each message."""
        far_back_ns, self._far_back_ns = self._far_back_ns, None
        if stamp_ns <= last_ns - LATE_NS:
            self._far_back_ns = stamp_ns
        follows = far_back_ns is not None and 0 < stamp_ns - far_back_ns <= last_ns - stamp_ns
        return stamp_ns < last_ns and follows


class ImageOrder:
    """Gives each image a time that advances, from its header's stamp and its arrival time.

    - No stamp (zero or below): the arrival time is used.
    - The same stamp again: the message was sent twice, and the image is left out. But a stamp of whole seconds may be
      from a clock of that resolution; it is advanced by the time since its first arrival.
    - The same stamp for LATE_NS (and _REPEATS images, unless it is of whole seconds): the arrival time is used.
    - Older than the last image by less than LATE_NS: late, and left out.
    - Older by more: late, too, unless the next image follows it: then the clock jumped back, and the order starts anew.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None  # of the last image taken
        self._header_ns = 0
        self._arrival_ns = 0
        self._standing_since_ns = 0  # arrival of the first image with the last stamp
        self._repeats = 0  # images with it since
        self._jump_back = JumpBack()

    def place(self, header_ns: int, arrival_ns: int) -> Ordered:
        """Order one image. header_ns: its header's stamp. arrival_ns: log time in a bag, ROS time in a node."""
        if header_ns == self._header_ns:
            self._repeats += 1
        else:
            self._header_ns, self._standing_since_ns, self._repeats = header_ns, arrival_ns, 0
        stamp_ns, problem = self._time(header_ns, arrival_ns)
        again = problem == STANDING and arrival_ns - self._arrival_ns < _TWICE_NS
        last_ns = self._stamp_ns
        jumped_back = last_ns is not None and self._jump_back.at(stamp_ns, last_ns)
        if last_ns is not None and (again or (stamp_ns <= last_ns and not jumped_back)):
            return Ordered(stamp_ns, False, DUPLICATE if again or stamp_ns == last_ns else LATE)
        self._stamp_ns, self._arrival_ns = stamp_ns, arrival_ns
        back_ns = 0 if last_ns is None else max(0, last_ns - stamp_ns)
        return Ordered(stamp_ns, True, problem, back_ns)

    def _time(self, header_ns: int, arrival_ns: int) -> tuple[int, str]:
        """The time of an image and the problem, if it is not the header's stamp."""
        if header_ns <= 0:
            return arrival_ns, NO_STAMP
        standing_ns, whole = max(0, arrival_ns - self._standing_since_ns), header_ns % _SECOND_NS == 0
        if self._repeats >= (1 if whole else _REPEATS) and standing_ns >= LATE_NS:
            return arrival_ns, STANDING
        if self._repeats and whole:
            return header_ns + standing_ns, STANDING
        return header_ns, ""


def clock_problem(stamp_ns: int, clock_ns: int) -> str:
    """A sentence if an image that just came cannot be of the time of its stamp, else "". Nanoseconds since 1970."""
    away_ns = stamp_ns - clock_ns
    if -_OLDEST_NS < away_ns < _AHEAD_NS:
        return ""
    far, side = time_span_text(abs(away_ns) / _SECOND_NS), "after" if away_ns > 0 else "before"
    return (
        f"images are stamped {far} {side} the clock "
        f"({time_text(stamp_ns)}, clock {time_text(clock_ns)}): set the camera driver to stamp with system time; for "
        "a bag, set use_sim_time and play it with --clock"
    )


def time_span_text(seconds: float) -> str:
    """A length of time to read, in its largest unit."""
    for unit, length in (("years", 365.25 * 86_400), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{int(unit == 'years')}f} {unit}"
    return f"{seconds:.0f} s"


def time_text(stamp_ns: int) -> str:
    """A stamp to read: UTC with milliseconds, or seconds if it is not a date from 2000 on."""
    seconds = stamp_ns / 1e9
    if not 946_684_800 <= seconds < 4_102_444_800:  # the years 2000 to 2100
        return f"{seconds:.3f} s"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
