"""The checks, by what they are about; within a file in the order in which they run."""
