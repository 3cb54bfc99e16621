"""Searchers: which architectures of a trained supernet to score."""
