"""What can be seen: read models, the engine that keeps them, and the queries over them."""
