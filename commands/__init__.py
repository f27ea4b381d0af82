"""What may be asked: commands, the pure decisions on them, and the one path by which they are written."""
