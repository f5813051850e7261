"""What the node and the localiser can be given by name: torch, re-rankers, describers."""
