"""Whether vpr_msgs, the package's own messages, is built."""

from __future__ import annotations


def available() -> bool:
    """Whether its classes can be imported. The module alone proves nothing: any folder called vpr_msgs is one.

    False too for a build from before the latest of them.
    """
    try:
        from vpr_msgs.action import Localize  # type: ignore[attr-defined]  # noqa: F401
        from vpr_msgs.msg import Match, Status  # type: ignore[attr-defined]  # noqa: F401
    except ImportError:
        return False
    return True
