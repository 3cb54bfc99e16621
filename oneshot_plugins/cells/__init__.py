"""Cells: choices of the edges and operations of a small graph, and their supernet module."""
