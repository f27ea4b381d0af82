"""The database's schema, one numbered step after another, and the way they are applied."""
