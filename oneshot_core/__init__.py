"""One-shot neural architecture search for PyTorch Lightning."""
