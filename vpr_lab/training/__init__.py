"""Training the networks from drives of any kind."""
