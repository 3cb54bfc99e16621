"""Small searches on small data, each beside random search of equal cost and the largest network."""
