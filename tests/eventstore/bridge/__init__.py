"""The bridge, held to what the eventsourcing library ships for its own persistence modules."""
