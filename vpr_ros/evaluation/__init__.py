"""How good the answers are: numbers, pictures and a report."""
