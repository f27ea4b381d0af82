"""Azure for tests: what Microsoft's own SDK models accept, with the behaviour behind it written by hand."""
