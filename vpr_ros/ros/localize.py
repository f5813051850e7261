"""The executable ``localize``: the node in a process that a signal ends cleanly at any moment."""

from __future__ import annotations

from vpr_ros.ros.interrupts import Interrupts


def main() -> None:
    """Run the node until SIGINT or SIGTERM."""
    interrupts = Interrupts()  # before the imports, which take most of a second
    from vpr_ros.ros.node import run

    run(interrupts)


if __name__ == "__main__":
    main()
