"""What every process can rely on."""
