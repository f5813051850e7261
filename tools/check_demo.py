#!/usr/bin/env python3
"""Hold what `make demo` found against what it has to find: prints each figure with its limit, exits 1 where one fails.

python tools/check_demo.py [demo/results.json]
"""

from __future__ import annotations

import json
import operator
import sys
from pathlib import Path
from typing import Any

CONDITIONS = ("sun", "snow", "night")
LIMITS = (
    ("recall@1", operator.ge, ">=", 0.94),
    ("recall@1_filtered", operator.ge, ">=", 0.97),
    ("off_map_detected", operator.ge, ">=", 0.95),
    ("ece", operator.lt, "<", 0.03),
    ("dropped", operator.eq, "==", 0),
)


def failures(results: dict[str, Any]) -> int:
    """Print every figure; how many are missing or beyond their limits."""
    count = 0
    for condition in CONDITIONS:
        for name, holds, sign, limit in LIMITS:
            value = results["conditions"].get(condition, {}).get(name)
            right = value is not None and holds(value, limit)
            count += not right
            shown = "missing" if value is None else f"{value:.3f}"
            print(f"{'ok  ' if right else 'FAIL'} {condition:6} {name:18} {shown:>7} {sign} {limit:g}")
    return count


def main() -> int:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "demo/results.json")
    if not path.is_file():
        print(f"no results of the demo in {path}: run make demo first", file=sys.stderr)
        return 1
    failed = failures(json.loads(path.read_text(encoding="utf-8")))
    print(f"{failed} figures of the demo fail" if failed else "the demo finds what it has to")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
