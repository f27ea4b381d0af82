"""Azurite, Microsoft's own emulator of Azure's blobs: fetched as its lock file says, started, and kept behind our door."""
