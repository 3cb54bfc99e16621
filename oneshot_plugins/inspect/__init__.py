"""``oneshot inspect``: what a model offers to a search, from the command line."""
