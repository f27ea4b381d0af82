"""What the schema and its steps promise."""
