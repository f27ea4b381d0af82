"""Measurements of what the system claims about its speed, each one repeatable."""
