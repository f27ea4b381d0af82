"""What happened: the log asked about the past, compared, verified, replayed and exported."""
