"""Costs: what a plain network takes to keep and to run."""
