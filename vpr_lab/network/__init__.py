"""The networks, as torch modules and nothing else."""
