"""What is true: events, states and the pure functions over them; no I/O, no clock, no randomness."""
