"""The node's state as one DiagnosticStatus, in words and figures."""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Status:
    """level: OK, WARN or ERROR. message: one sentence."""

    level: bytes
    message: str


def diagnostic_array(stamp: Time, node_name: str, condition: Status, values: dict[str, str]) -> DiagnosticArray:
    """One message for /diagnostics. node_name: fully qualified, so that two robots' nodes do not collide."""
    status = DiagnosticStatus(
        level=condition.level,
        name=f"{node_name}: visual localisation",
        message=condition.message,
        hardware_id="vpr_ros",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=Header(stamp=stamp), status=[status])
