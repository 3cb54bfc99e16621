"""A complete search on MNIST-1D, as a command."""
