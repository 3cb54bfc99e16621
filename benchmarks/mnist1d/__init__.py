"""Every strategy on the 625 networks of the MNIST-1D chain, beside random search of equal cost."""
