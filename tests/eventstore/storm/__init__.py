"""A storm over a log: writers that are killed, roll back and are cut off, and a reader that must miss nothing."""
