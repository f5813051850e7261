"""The node's services."""
