#!/usr/bin/env python3
"""Prints the requirements of an extra of setup.cfg, for an environment without the package itself.

python tools/extra.py docs
"""

import configparser
import sys
from pathlib import Path

setup = configparser.ConfigParser()
setup.read(Path(__file__).parents[1] / "setup.cfg")
print(" ".join(setup["options.extras_require"][sys.argv[1]].split()))
