"""Rebuilds: what they make, whatever becomes of them on the way."""
