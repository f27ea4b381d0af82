"""The steps, never edited once applied."""
