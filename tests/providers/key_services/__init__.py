"""The services that hold a master key: what all of them promise, and what is each one's own."""
