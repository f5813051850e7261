"""The `vpr` command: parse, call the library, print."""
