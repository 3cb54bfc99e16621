"""Check that components keep what their kind promises: the conformance kit."""
