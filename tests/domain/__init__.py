"""What is true: events, states, versions."""
