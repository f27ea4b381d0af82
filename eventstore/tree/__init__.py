"""The Merkle tree over the log: what it hashes to, the checkpoints signed of it, and the proofs that anybody can check."""
