"""Ways out of the node, one file per consumer: each turns an Answer into messages of its own."""
