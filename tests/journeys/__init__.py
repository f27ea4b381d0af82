"""Whole journeys through every part."""
