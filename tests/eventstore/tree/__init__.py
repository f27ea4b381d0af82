"""The Merkle tree over the log."""
