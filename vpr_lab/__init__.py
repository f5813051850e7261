"""Makes and compares networks: training, export, simulation and the papers' systems. The robot needs none of it."""
