"""Score architectures with the weights of a trained supernet, and look for the best."""
