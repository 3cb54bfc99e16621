"""Distillation: networks of a supernet learn from a teacher, such as the original model."""
