"""The log: append, load, read in order, subscribe."""
