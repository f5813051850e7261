"""A fleet beyond one machine: maps built on a cluster."""
