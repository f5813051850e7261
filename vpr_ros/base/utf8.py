"""Names of files, texts and output in UTF-8, whatever the locale says."""

from __future__ import annotations

import locale
import os
import sys


def ensure() -> None:
    """Start this program anew in Python's UTF-8 mode where the locale is of another encoding; else do nothing.

    Under an ASCII or Latin locale Python decodes arguments by it, and a map in a folder with an umlaut, a report with
    a dash or a ROS parameter with either ends in a UnicodeEncodeError somewhere far down. Call it first in a main().
    """
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    if sys.flags.utf8_mode or encoding == "utf8" or not sys.orig_argv:
        return
    # sys.executable: orig_argv[0] may be a bare name. exec keeps the process, so signals and launchers notice nothing.
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})
