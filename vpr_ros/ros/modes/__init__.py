"""The modes of the node: localize on a map, or build a map and close loops."""
