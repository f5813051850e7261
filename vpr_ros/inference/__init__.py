"""Running networks: the describer's interface, its backends, and smaller variants of models. Needs no torch."""
