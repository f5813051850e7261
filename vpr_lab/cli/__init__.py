"""The commands that vpr_lab adds to `vpr`."""
