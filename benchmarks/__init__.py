"""Side-by-side measurements: each number is a ratio of two things timed in turn, in one run."""
