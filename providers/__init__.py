"""The clouds a function can run in, each one folder behind one port."""
