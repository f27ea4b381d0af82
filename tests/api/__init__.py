"""The HTTP contract, over ASGI."""
