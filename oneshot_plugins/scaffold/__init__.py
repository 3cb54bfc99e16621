"""Write a new plugin package that works: `oneshot plugins new`."""
