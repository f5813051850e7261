"""Outputs of the node, one file per consumer: each turns an Answer or a ClosureAnswer into messages of its own."""
