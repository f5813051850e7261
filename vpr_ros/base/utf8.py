"""UTF-8 for file names, arguments and output, whatever the locale is."""

from __future__ import annotations

import locale
import os
import sys

_TRIED = "VPR_UTF8_TRIED"  # in the environment of a program that was restarted


def ensure() -> None:
    """Restart this program in Python's UTF-8 mode if the locale has another encoding; else do nothing.

    Under an ASCII or Latin locale, a folder with an umlaut or a report with a dash would raise a UnicodeEncodeError
    somewhere far down. Call it first in a main().
    """
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    if sys.flags.utf8_mode or encoding == "utf8" or not sys.orig_argv or _TRIED in os.environ:
        return
    # Once: PYTHONUTF8 has no effect beside -I, -E and -X utf8=0.
    # sys.executable: orig_argv[0] may be a bare name. exec keeps the process id, so signals and launchers still work.
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1", _TRIED: "1"})
