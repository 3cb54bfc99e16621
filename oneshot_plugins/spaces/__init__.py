"""Ready-made model spaces."""
