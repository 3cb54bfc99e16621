"""Layers whose sizes are chosen: their storage, the rules that cut it, their supernet module."""
