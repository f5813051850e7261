"""Plugins of the node and the localiser, by name: the torch backend, re-rankers, describers."""
