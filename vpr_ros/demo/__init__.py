"""The demonstration: drives through a small town, the real node, real topics, a report."""
