"""Supernet modules for the choices of ``oneshot_core.space``."""
