"""Whether vpr_msgs is built: the messages that standard ones cannot say."""

from __future__ import annotations


def available() -> bool:
    """Whether its classes can be imported. A module of that name is not enough: any folder called vpr_msgs is one."""
    try:
        from vpr_msgs.msg import Match  # type: ignore[attr-defined]  # noqa: F401
    except ImportError:
        return False
    return True
