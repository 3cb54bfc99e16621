"""Adapters of models that people use: declarations of a few lines each, one file for a family."""
