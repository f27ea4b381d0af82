"""Archiving: what is written, what stays, what can be read again, and what a crash leaves behind."""
