"""What may be asked, what is refused, and the one write path."""
