"""`python -m vpr_ros.cli`: the command `vpr`, where pip's folder of commands is not in PATH."""

from vpr_ros.cli.main import main

if __name__ == "__main__":
    main()
