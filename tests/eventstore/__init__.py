"""What the log and its database promise."""
