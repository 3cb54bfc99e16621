"""Pretrained, unmodified models become supernets: tracing, adapters, importance, saving."""
