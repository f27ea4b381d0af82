"""Old parts of the log as files: written, verified, taken out of the database, read on in, and put back."""
