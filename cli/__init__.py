"""The command line: `dcf` for users over HTTP, and for operators over the packages themselves."""
