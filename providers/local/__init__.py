"""This machine as a cloud: an agent that builds, runs and serves functions, and its client."""
