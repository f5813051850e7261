"""The `vpr` command: parse arguments, call the library, print the result."""
