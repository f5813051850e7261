"""Outputs of the node, one file per consumer. Each converts an Answer or a ClosureAnswer to the consumer's messages."""
