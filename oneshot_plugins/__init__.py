"""First-party plugins, found through the same entry points as anybody's."""
