"""Google Cloud for tests: what Google's own discovery documents accept, with the behaviour behind it written by hand."""
