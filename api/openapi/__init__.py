"""The API described: to programs as OpenAPI 3.1, to people as a page; both made from what the routes declare."""
