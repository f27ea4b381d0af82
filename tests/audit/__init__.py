"""Tests of what the log says of the past."""
