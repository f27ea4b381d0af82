"""A cloud in memory, with a seed: it delays, throttles, loses answers and fails as clouds do, and keeps account of it."""
